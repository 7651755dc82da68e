"""The true-positive rate at a false-positive rate, against its definition."""

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.registry import METRICS


def metric_of(logits, labels, max_fpr, sizes):
    metric = METRICS.build({"TprAtFpr": {"max_fpr": max_fpr}})
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends):
        metric.update(paddle.to_tensor(logits[start:end]), paddle.to_tensor(labels[start:end]))
    return metric


@pytest.mark.parametrize("max_fpr", [0.0, 0.01, 0.1, 1.0])
def test_definition(max_fpr):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 700)
    logits = rng.normal(0, 2, (700, 2)).astype("float32")
    logits[:, 1] += 2.0 * labels
    probability = 1 / (1 + np.exp((logits[:, 0] - logits[:, 1]).astype("float64")))
    best = 0.0
    for threshold in np.arange(10000) / 10000:
        false_positive = (probability[labels == 0] > threshold).mean()
        if false_positive <= max_fpr:
            best = max(best, (probability[labels == 1] > threshold).mean())
    metric = metric_of(logits, labels[:, None], max_fpr, [300, 300, 100])
    assert metric.compute() == {"TprAtFpr": pytest.approx(best)}
    assert best > 0


def test_one_class_only():
    logits = np.array([[0.0, 1.0], [0.0, 2.0]], dtype="float32")
    assert metric_of(logits, np.array([1, 1]), 0.001, [2]).compute() == {"TprAtFpr": 1.0}
    assert metric_of(logits, np.array([0, 0]), 0.001, [2]).compute() == {}


def test_nan_is_never_class_1():
    logits = np.array([[np.nan, 1.0], [0.0, 2.0]], dtype="float32")
    assert metric_of(logits, np.array([1, 1]), 0.001, [2]).compute() == {"TprAtFpr": 0.5}


def test_states_add_up():
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 1, (60, 2)).astype("float32")
    labels = rng.integers(0, 2, 60)
    whole = metric_of(logits, labels, 0.2, [60])
    one = metric_of(logits[:25], labels[:25], 0.2, [25])
    one.merge(metric_of(logits[25:], labels[25:], 0.2, [35]).state())
    assert one.compute() == whole.compute()


def test_more_than_two_classes_are_refused():
    with pytest.raises(ConfigError, match="for two classes, but the model has 3"):
        metric_of(np.zeros((4, 3), "float32"), np.zeros(4, "int64"), 0.1, [4])
