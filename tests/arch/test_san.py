"""SAN: golden values, published counts, sizes, options, errors."""

import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.complexity import count_complexity
from ppcls.errors import ConfigError, UserError
from tests.arch import golden

NANO = {"name": "SAN", "class_num": 10, "layers": [1, 1, 1, 1, 1]}
SMALL_KERNELS = {"layers": [1, 0, 1, 1, 1], "kernels": [3, 3, 5, 5, 3]}
FIXTURES = {
    f"san{size}_{sa_type}": {**arguments, "sa_type": sa_type}
    for sa_type in ("pairwise", "patchwise")
    for size, arguments in [("_nano", NANO), ("_nano_k3", {**NANO, **SMALL_KERNELS})]
}
FIXTURES["san10_pairwise"] = {"name": "SAN10_pairwise"}
FIXTURES["san10_patchwise"] = {"name": "SAN10_patchwise"}


@pytest.fixture(params=FIXTURES)
def fixture(request, shared_dir):
    return golden.load_fixture(shared_dir, request.param)


def build_golden(fixture, dtype="float32"):
    model = build_model(FIXTURES[fixture["name"]])
    golden.load_golden_weights(model, fixture, dtype)
    return model


def test_golden_logits(fixture):
    golden.check_eval_logits(build_golden(fixture), fixture)


def test_golden_logits_float64(fixture):
    golden.check_eval_logits_float64(lambda: build_model(FIXTURES[fixture["name"]]), fixture)


def test_golden_gradients(fixture):
    # In float32 rounding moves some of the many ReLU units across their kink.
    with golden.float64_by_default():
        golden.check_gradients(build_golden(fixture, "float64"), fixture)


def test_golden_train_mode(fixture):
    golden.check_train_mode(build_golden(fixture), fixture)


@pytest.mark.parametrize("sa_type", ["pairwise", "patchwise"])
def test_golden_complexity(sa_type, shared_dir):
    fixture = golden.load_fixture(shared_dir, f"san10_{sa_type}")
    complexity = count_complexity(build_model(f"SAN10_{sa_type}"), (3, 224, 224))
    assert complexity.parameters == fixture["num_params"]
    assert complexity.macs["conv_linear"] == fixture["macs"]["conv_linear"]
    assert complexity.macs["gathered_aggregation"] == fixture["macs"]["gathered_aggregation"]
    assert complexity.total_macs == fixture["macs"]["total"]


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("SAN15_pairwise", 14.07, 2.86),
        ("SAN15_patchwise", 16.18, 2.48),
        ("SAN19_pairwise", 17.60, 3.64),
        ("SAN19_patchwise", 20.52, 3.13),
    ],
)
def test_published_complexity(name, parameters, macs):
    complexity = count_complexity(build_model(name), (3, 224, 224))
    assert round(complexity.parameters / 1e6, 2) == parameters
    assert round(complexity.total_macs / 1e9, 2) == macs


@pytest.mark.parametrize(
    ("arguments", "smallest"),
    [({}, 128), (SMALL_KERNELS, 64), ({"layers": [1, 0, 0, 0, 0]}, 32)],
)
def test_smallest_image(arguments, smallest):
    model = build_model({**NANO, **arguments})
    model.eval()
    with paddle.no_grad():
        assert model(paddle.ones([1, 3, smallest, smallest + 5])).shape == [1, 10]
    with pytest.raises(UserError, match=f"at least {smallest} pixels .* width {smallest - 1};"):
        model(paddle.ones([1, 3, smallest, smallest - 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [1, 1, 1]}, "layers needs a value for each of five stages"),
        ({"kernels": [3, 4, 7, 7, 7]}, "kernels must be odd"),
        ({"share_planes": 3}, "share_planes 3 does not divide the 16 transform channels"),
    ],
)
def test_faults_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**NANO, **arguments})
