"""Which samples are kept for validation and test."""

import numpy as np

from ppcls.data.prepare import stratified_split
from ppcls.data.prepare.splitting import split_free, split_multi_label


def test_stratified_split_is_proportional_and_keeps_small_classes():
    labels = np.repeat([0, 1, 2, 3], [50, 30, 2, 1])
    is_val = stratified_split(labels, 0.2)
    assert [int(is_val[labels == label].sum()) for label in range(4)] == [10, 6, 1, 0]
    assert np.array_equal(is_val, stratified_split(labels, 0.2))
    assert not np.array_equal(is_val, stratified_split(labels, 0.2, seed=1))


def test_a_test_part_does_not_change_validation():
    labels = np.repeat([0, 1], [50, 30])
    free = np.full(80, "", "<U5")
    without = split_free(free, labels, 0.2)
    with_test = split_free(free, labels, 0.2, test_fraction=0.1)
    assert np.array_equal(without == "val", with_test == "val")
    assert [int((with_test == part).sum()) for part in ("train", "val", "test")] == [56, 16, 8]
    assert np.bincount(labels[with_test == "test"]).tolist() == [5, 3]


def test_multi_label_split_keeps_shares_of_rare_labels():
    rng = np.random.RandomState(0)
    labels = (rng.rand(1000, 4) < [0.5, 0.2, 0.05, 0.02]).astype(np.int8)
    is_val = split_multi_label(labels, 0.2, seed=3)
    assert is_val.sum() == 200
    shares = labels[is_val].sum(axis=0) / labels.sum(axis=0)
    assert np.abs(shares - 0.2).max() < 0.03
    assert np.array_equal(is_val, split_multi_label(labels, 0.2, seed=3))
