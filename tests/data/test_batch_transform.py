"""Mixing of batches against the formulas of the papers."""

import numpy as np
import pytest
from pictures import MIX

from ppcls.config.schema import Faults, check_component
from ppcls.data.batch_transform.fmix import low_frequency_noise
from ppcls.data.batch_transform.mix import mix_images
from ppcls.errors import ConfigError
from ppcls.registry import BATCH_TRANSFORMS

B, CLASSES = 6, 10
LABELS = np.array([3, 1, 4, 1, 5, 9])
#: Every pixel of image i is i + 1, so that pixels tell where they came from.
IMAGES = np.broadcast_to(np.arange(1, B + 1).reshape(B, 1, 1, 1), (B, 3, 32, 24)).astype(np.float32)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]


def build(spec):
    operator = BATCH_TRANSFORMS.build(spec, class_num=CLASSES)
    # Operators may write to the images they are given.
    return lambda images, labels, rng: operator(images.copy(), labels, rng)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", BATCH_TRANSFORMS.names())
def test_contract(name):
    operator = build(MIX[0] if name == "OpSampler" else name)
    results = [operator(IMAGES, LABELS, generator(seed)) for seed in (1, 1, *range(2, 9))]
    assert all(np.array_equal(a, b) for a, b in zip(results[0], results[1]))
    for mixed, soft in results:
        assert mixed.shape == IMAGES.shape
        assert mixed.dtype == np.float32
        assert soft.shape == (B, CLASSES)
        assert soft.dtype == np.float32
        assert np.allclose(soft.sum(axis=1), 1)
        assert (soft >= 0).all()
    assert any(not np.array_equal(results[0][0], mixed) for mixed, _ in results[2:])


def test_mixup_is_the_convex_combination():
    mixed, soft = build({"MixupOperator": {"alpha": 0.8}})(IMAGES, LABELS, generator(5))
    rng = generator(5)
    order = rng.permutation(B)
    weight = np.float32(rng.beta(0.8, 0.8))
    assert 0.01 < weight < 0.99
    assert np.allclose(mixed, weight * IMAGES + (1 - weight) * IMAGES[order], rtol=1e-6)
    assert np.allclose(soft, weight * ONE_HOT + (1 - weight) * ONE_HOT[order], rtol=1e-6)


def test_mixup_weights_follow_the_beta_distribution():
    operator = build({"MixupOperator": {"alpha": 0.4}})
    images, labels = IMAGES[:2, :, :1, :1], np.array([0, 1])
    rng = generator(0)
    weights = [operator(images, labels, rng)[1][0, 0] for _ in range(4000)]
    # Half of the time an image is its own partner, and then the weight of its label is 1.
    drawn = np.array([weight for weight in weights if weight < 1])
    assert 0.45 < len(drawn) / 4000 < 0.55
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01


def test_cutmix_pastes_one_rectangle_and_counts_its_pixels():
    operator = build({"CutmixOperator": {"alpha": 1.0}})
    kept = []
    for seed in range(200):
        mixed, soft = operator(IMAGES, LABELS, generator(seed))
        order = generator(seed).permutation(B)
        pasted = mixed[:, 0] != IMAGES[:, 0]
        for index in np.flatnonzero(order != np.arange(B)):
            rows = np.flatnonzero(pasted[index].any(axis=1))
            columns = np.flatnonzero(pasted[index].any(axis=0))
            area = len(rows) * len(columns)
            assert pasted[index].sum() == area
            assert (mixed[index][:, pasted[index]] == order[index] + 1).all()
            expected = 1 - area / (32 * 24)
            mix = expected * ONE_HOT[index] + (1 - expected) * ONE_HOT[order[index]]
            assert np.allclose(soft[index], mix, atol=1e-6)
            kept.append(expected)
    assert 0.5 < np.mean(kept) < 0.75


def test_fmix_mask_keeps_the_part_that_was_drawn():
    operator = build({"FmixOperator": {"alpha": 1.0}})
    mixed, soft = operator(IMAGES, LABELS, generator(2))
    rng = generator(2)
    order = rng.permutation(B)
    drawn = rng.beta(1.0, 1.0)
    index = int(np.flatnonzero(order != np.arange(B))[0])
    own = (mixed[index, 0] == index + 1).mean()
    assert abs(own - drawn) < 1 / (32 * 24)
    assert np.isclose(soft[index, LABELS[index]], own, atol=1e-6)


def test_fmix_soft_edge_lies_between():
    operator = build({"FmixOperator": {"max_soft": 0.3}})
    mixed, soft = operator(IMAGES, LABELS, generator(2))
    assert len(np.unique(mixed[0])) > 10
    assert np.allclose(soft.sum(axis=1), 1)


def test_fmix_noise_is_of_low_frequency():
    noise = low_frequency_noise((64, 64), 3.0, generator(0))
    power = np.abs(np.fft.fft2(noise)) ** 2
    assert power[:4, :4].sum() + power[-4:, :4].sum() > 0.45 * power.sum()


def test_op_sampler_applies_each_operator_as_often_as_said():
    operator = build(
        {
            "OpSampler": {
                "MixupOperator": {"alpha": 1.0, "prob": 0.2},
                "CutmixOperator": {"alpha": 1.0, "prob": 0.5},
            }
        }
    )
    rng = generator(0)
    counts = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(1500):
        mixed, soft = operator(IMAGES, LABELS, rng)
        if np.array_equal(mixed, IMAGES):
            kind = "none" if np.array_equal(soft, ONE_HOT) else "cutmix"
        else:
            kind = "cutmix" if set(np.unique(mixed)) <= set(range(1, B + 1)) else "mixup"
        counts[kind] += 1
    # A rectangle of no pixels at all counts as none.
    assert abs(counts["mixup"] / 1500 - 0.2) < 0.04
    assert abs(counts["cutmix"] / 1500 - 0.5) < 0.06


def test_labels_are_soft_also_when_nothing_is_mixed():
    operator = build({"OpSampler": {"MixupOperator": {"alpha": 1.0, "prob": 0.0}}})
    images, soft = operator(IMAGES, LABELS, generator(0))
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(soft, ONE_HOT)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("weight", [0.3, 0.0, 1.0, "mask"])
def test_mixing_in_place_is_the_formula(dtype, weight):
    rng = generator(0)
    images = rng.standard_normal((17, 3, 9, 8)).astype(dtype)
    weight = rng.random((9, 8)).astype(dtype) if weight == "mask" else dtype(weight)
    for order in (rng.permutation(17), np.arange(17), np.roll(np.arange(17), 1)):
        mixed = images.copy()
        mix_images(mixed, order, weight)
        assert np.array_equal(mixed, weight * images + (1 - weight) * images[order])


@pytest.mark.parametrize("name", BATCH_TRANSFORMS.names())
def test_rows_of_a_multi_label_dataset_are_mixed(name):
    rows = (generator(0).random((B, CLASSES)) < 0.4).astype(np.float32)
    operator = build(MIX[0] if name == "OpSampler" else name)
    mixed, soft = operator(IMAGES, rows, generator(1))
    assert soft.shape == rows.shape
    assert soft.dtype == np.float32
    # Where the weight is w, a pixel of image i is w (i + 1) + (1 - w) (order[i] + 1).
    order = generator(1).permutation(B) if name != "OpSampler" else None
    if order is not None:
        moved = order != np.arange(B)
        share = (mixed[:, 0].mean(axis=(1, 2)) - (order + 1))[moved] / (np.arange(B) - order)[moved]
        expected = share[:, None] * rows[moved] + (1 - share[:, None]) * rows[order][moved]
        assert np.allclose(soft[moved], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"MixupOperator": {"alpha": 1.0}}, ".MixupOperator.prob: required key is missing"),
        ({"MixupOperator": None}, ".MixupOperator.prob: required key is missing"),
        ({"MixUpOperator": {"prob": 0.7}}, "did you mean 'MixupOperator'?"),
        ({"MixupOperator": {"prob": 0.7, "alfa": 1}}, "did you mean 'alpha'?"),
        (
            {"MixupOperator": {"prob": 0.7, "alpha": 0}},
            ".MixupOperator.alpha: expected a number > 0, received 0.0",
        ),
        ({"MixupOperator": {"prob": 1.7}}, "expected a number >= 0 and <= 1, received 1.7"),
        ({"MixupOperator": 0.5}, "expected a component"),
    ],
)
def test_the_operators_of_op_sampler_are_checked(arguments, message):
    faults = Faults()
    check_component("batch transform", {"OpSampler": arguments}, "ops.0", faults)
    assert len(faults.messages) == 1
    assert faults.messages[0].startswith("ops.0.OpSampler")
    assert message in faults.messages[0]


def test_numbers_written_as_text_are_read_inside_op_sampler():
    faults = Faults()
    spec = {"OpSampler": {"MixupOperator": {"prob": "5e-1", "alpha": "1/5"}}}
    checked = check_component("batch transform", spec, "ops.0", faults)
    assert checked == {"OpSampler": {"MixupOperator": {"prob": 0.5, "alpha": 0.2}}}


def test_probabilities_of_op_sampler_must_not_exceed_one():
    with pytest.raises(ConfigError, match=r"sum to 1\.4"):
        build({"OpSampler": {"MixupOperator": {"prob": 0.7}, "CutmixOperator": {"prob": 0.7}}})
