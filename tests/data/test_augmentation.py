"""RandAugment, AutoAugment and AugMix: what is applied, how often, how strongly."""

import numpy as np
import pytest
from operators import build, generator
from pictures import make_picture
from PIL import Image

from ppcls.data.transform import augment_policies, auto_augment, timm_augment
from ppcls.data.transform.augment_operations import OPERATIONS
from ppcls.data.transform.augmix import AugMix, mix_chains
from ppcls.data.transform.timm_augment import TimmAutoAugment
from ppcls.errors import ConfigError

PICTURE = make_picture(60, 45)


@pytest.fixture
def record(monkeypatch):
    """Lists the (name, level) of every operation that is applied."""
    applied = []

    def spy(name):
        def operation(image, level, draw):
            applied.append((name, level))
            return image

        return operation

    spies = {name: spy(name) for name in OPERATIONS}
    monkeypatch.setattr(timm_augment, "OPERATIONS", spies)
    monkeypatch.setattr(auto_augment, "OPERATIONS", spies)
    return applied


def run(operator, times=2000):
    rng = generator(0)
    for _ in range(times):
        operator(PICTURE, rng)


def test_rand_reads_its_sections(record):
    run(build("TimmAutoAugment", config_str="rand-m7-n4-mstd1.5-inc1"))
    names, levels = zip(*record)
    assert abs(len(record) / 2000 - 4 / 2) < 0.1  # Each of 4 half of the time.
    assert abs(np.mean(levels) - 0.69) < 0.01  # 0.7, less what is clipped at 1.
    assert 0.12 < np.std(levels) < 0.16
    assert len(set(names)) == 15
    assert "PosterizeIncreasing" in names
    assert "Posterize" not in names


def test_rand_defaults(record):
    run(build("TimmAutoAugment", config_str="rand"))
    names, levels = zip(*record)
    assert abs(len(record) / 2000 - 2 / 2) < 0.05
    assert set(levels) == {1.0}
    assert "Posterize" in names


def test_rand_without_inc_and_with_inc0_agree(record):
    run(build("TimmAutoAugment", config_str="rand-inc0"))
    assert "PosterizeIncreasing" not in {name for name, _ in record}


def test_rand_with_weights_draws_by_them_and_never_twice(record):
    run(build("TimmAutoAugment", config_str="rand-n1-w0"), times=4000)
    names = [name for name, _ in record]
    assert abs(names.count("Rotate") / len(names) - 0.3) < 0.04
    assert abs(names.count("ShearX") / len(names) - 0.2) < 0.04
    assert "Invert" not in names
    record.clear()
    operator = build("TimmAutoAugment", config_str="rand-n13-w0")
    for seed in range(20):
        record.clear()
        operator(PICTURE, generator(seed))
        assert len({name for name, _ in record}) == len(record)


def test_rand_leaves_a_quarter_of_the_images_alone():
    """Two operations, each applied half of the time (and some that change nothing here)."""
    operator = build("TimmAutoAugment", config_str="rand-m9-inc1")
    rng = generator(0)
    untouched = sum(np.array_equal(operator(PICTURE, rng), PICTURE) for _ in range(400))
    assert 0.2 < untouched / 400 < 0.4


def test_prob_is_how_often(record):
    run(build("TimmAutoAugment", config_str="rand-n2", prob=0.25))
    assert abs(len(record) / 2000 - 0.25) < 0.05


@pytest.mark.parametrize(
    ("name", "posterize", "first"),
    [
        ("original", "PosterizeOriginal", ("PosterizeOriginal", 0.4, 8)),
        ("originalr", "PosterizeIncreasing", ("PosterizeIncreasing", 0.4, 8)),
        ("v0", "Posterize", ("Equalize", 0.8, 1)),
        ("v0r", "PosterizeIncreasing", ("Equalize", 0.8, 1)),
    ],
)
def test_policies_of_timm(record, name, posterize, first):
    operator = TimmAutoAugment(config_str=name)
    assert operator.method.policy[0][0] == first
    assert len(operator.method.policy) == 25
    run(operator, times=4000)
    assert {name for name, _ in record if name.startswith("Posterize")} == {posterize}
    expected = sum(prob for pair in operator.method.policy for _, prob, _ in pair) / 25
    assert abs(len(record) / 4000 - expected) < 0.05
    pairs = {(name, level / 10) for pair in operator.method.policy for name, _, level in pair}
    assert set(record) <= pairs


def test_policies_take_a_deviation_of_the_magnitude(record):
    run(build("TimmAutoAugment", config_str="original-mstd0.5"))
    assert len({level for name, level in record if name == "Rotate"}) > 100


def test_policies_are_pairs_of_known_operations():
    for policy in (augment_policies.IMAGENET, augment_policies.V0):
        assert len(policy) == 25
        for pair in policy:
            assert len(pair) == 2
            for name, prob, level in pair:
                assert name in OPERATIONS
                assert 0 <= prob <= 1
                assert 0 <= level <= 10


@pytest.mark.parametrize(
    ("config_str", "per_image", "level"),
    [("augmix", 3 * 2, 0.3), ("augmix-m5-w4-d2", 4 * 2, 0.5), ("augmix-w2-d3-a0.5-b1", 6, 0.3)],
)
def test_augmix_of_timm_reads_its_sections(record, config_str, per_image, level):
    run(build("TimmAutoAugment", config_str=config_str), times=500)
    assert abs(len(record) / 500 - per_image) < 0.2
    assert {level for _, level in record} == {level}
    assert len({name for name, _ in record}) == 13


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m9", "must begin with one of rand, augmix, original, originalr, v0, v0r"),
        ("rand-m9-x3", "'x3'; rand takes m<float>, n<int>, w<int>, inc<int>, mstd<float>"),
        ("rand-m", "'m'; rand takes"),
        ("rand-n1.5", "'n1.5'; rand takes"),
        ("rand-w1", "weights w0 only, received w1"),
        ("rand-w0-n14", "among 13 operations, received n14"),
        ("original-m9", "'m9'; original takes mstd<float>"),
        ("augmix-d0", "w, d and a must be larger than 0"),
        ("", "must begin with"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text, message):
    with pytest.raises(ConfigError) as caught:
        TimmAutoAugment(config_str=text)
    assert f"config_str '{text}' is not understood" in str(caught.value)
    assert message in str(caught.value)


def test_fill_and_interpolation():
    operator = TimmAutoAugment(mean=[0.5, 0.25, 1.0], interpolation="random")
    assert operator.fill == (128, 64, 255)
    assert operator.resample is None


def test_rand_augment_v2_has_the_operations_of_efficientnetv2(record):
    run(build("RandAugmentV2", num_layers=2, magnitude=5))
    assert len(record) == 4000
    assert {level for _, level in record} == {0.5}
    assert len({name for name, _ in record}) == 16


def test_rand_augment_v4_applies_one_of_two_on_average(record):
    run(build("RandAugmentV4"), times=4000)
    names, levels = zip(*record)
    assert abs(len(record) / 4000 - 1) < 0.05
    assert len(set(names)) == 15
    assert sorted(set(levels)) == [level / 9 for level in range(1, 10)]


def test_rand_augment_v3_keeps_most_bits(record):
    run(build("RandAugmentV3", num_layers=2, magnitude=9))
    names = {name for name, _ in record}
    assert {"PosterizeMildest", "SolarizeIncreasing"} < names


def test_auto_augment_scales_levels_to_nine(record):
    run(build("AutoAugment"))
    assert max(level for _, level in record) == 1.0
    assert {name for name, _ in record} >= {"PosterizeMild", "SolarizeIncreasing", "Rotate"}


def test_chains_are_mixed_by_the_formula():
    def operate(image):
        return Image.new("RGB", image.size, (200, 100, 0))

    mixed = mix_chains(PICTURE, operate, generator(1), alpha=1.0, width=3, depth=1)
    rng = generator(1)
    rng.dirichlet([1.0] * 3)
    part = rng.beta(1.0, 1.0)
    expected = (1 - part) * PICTURE + part * np.array([200, 100, 0])
    assert np.abs(mixed - expected).max() < 0.51


def test_augmix_without_changes_is_the_image(monkeypatch):
    same = {name: lambda image, level, draw: image for name in OPERATIONS}
    monkeypatch.setattr("ppcls.data.transform.augmix.OPERATIONS", same)
    mixed = AugMix(prob=1.0, mixture_depth=-1)(PICTURE, generator(0))
    assert np.array_equal(mixed, PICTURE)


def test_augmix_prob_is_how_often_and_severity_how_strong():
    rng = generator(0)
    operator = AugMix(prob=0.3)
    assert 0.6 < np.mean([operator(PICTURE, rng) is PICTURE for _ in range(300)]) < 0.8

    def change(severity: float) -> float:
        strong = AugMix(1.0, 1.0, aug_severity=severity)
        mixed = [strong(PICTURE, generator(seed)).astype(int) for seed in range(60)]
        return np.abs(mixed - PICTURE.astype(int)).mean()

    assert change(10) > 1.3 * change(0.5)
