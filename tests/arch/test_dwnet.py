"""DWNet and its dynamic forms: golden values, published counts, options, errors."""

import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.complexity import count_complexity, count_parameters
from ppcls.errors import ConfigError
from tests.arch import golden

FORMS = {"dwnet": "static", "dynamic_dwnet": "dynamic", "i_dynamic_dwnet": "inhomogeneous"}
NANO = {
    "name": "DWNet",
    "class_num": 10,
    "embed_dim": 24,
    "depths": [1, 1, 2, 1],
    "drop_path_rate": 0.0,
}
FIXTURES = {
    **{f"{prefix}_nano": {**NANO, "conv": conv} for prefix, conv in FORMS.items()},
    "dwnet_tiny": {"name": "DWNet_tiny", "drop_path_rate": 0.0},
    "dynamic_dwnet_tiny": {"name": "DynamicDWNet_tiny", "drop_path_rate": 0.0},
    "i_dynamic_dwnet_tiny": {"name": "IDynamicDWNet_tiny", "drop_path_rate": 0.0},
}
# The fixture's 8 groups of 3, 6, 12 and 24 channels.
FIXTURES["i_dynamic_dwnet_nano"]["group_channels"] = [3, 6, 12, 24]


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
    golden.check_gradients(build_golden(fixture), fixture)


def test_golden_train_mode(fixture):
    # Batch norms over two values per channel amplify the rounding of float32.
    with golden.float64_by_default():
        golden.check_train_mode(build_golden(fixture, "float64"), fixture)


@pytest.mark.parametrize("name", [name for name in FIXTURES if name.endswith("_tiny")])
def test_golden_complexity(name, shared_dir):
    fixture = golden.load_fixture(shared_dir, name)
    complexity = count_complexity(build_model(FIXTURES[name]), (3, 224, 224))
    assert complexity.parameters == fixture["num_params"]
    assert complexity.total_macs == fixture["macs"]["total"]
    for kind, count in complexity.macs.items():
        assert count == fixture["macs"][kind]


@pytest.mark.parametrize(
    ("name", "parameters", "conv_linear", "functional"),
    [
        ("DWNet_base", 74.35, 12.81, 0),
        ("DynamicDWNet_base", 161.60, 12.747, 0.152),
        ("IDynamicDWNet_base", 80.25, 14.188, 0.152),
    ],
)
def test_published_complexity(name, parameters, conv_linear, functional):
    complexity = count_complexity(build_model(name), (3, 224, 224))
    assert round(complexity.parameters / 1e6, 2) == parameters
    conv = complexity.macs.pop("conv_linear") / 1e9
    assert round(conv, 2 if name == "DWNet_base" else 3) == conv_linear
    assert round(sum(complexity.macs.values()) / 1e9, 3) == functional


def test_sharing_kernels_saves_their_parameters():
    whole, shared = (
        count_parameters(build_model({**NANO, "share_channels": share})) for share in (1, 4)
    )
    assert whole - shared == 49 * (24 + 48 + 2 * 96 + 192) * 3 // 4


@pytest.mark.parametrize("conv", ["static", "dynamic"])
def test_channels_that_share_a_kernel_are_neighbours(conv):
    paddle.seed(0)
    model = build_model({**NANO, "conv": conv, "share_channels": 4})
    mixer = model.layers[0].blocks[0].attn2conv.conv
    x = paddle.tile(paddle.randn([1, 1, 9, 9]), [1, 24, 1, 1])
    y = mixer(x) - paddle.reshape(mixer.bias, [1, -1, 1, 1])
    assert float(paddle.max(paddle.abs(y[:, 0] - y[:, 3]))) < 1e-6
    assert float(paddle.max(paddle.abs(y[:, 3] - y[:, 4]))) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, received 4"),
        ({"share_channels": 5}, "share_channels 5 does not divide embed_dim 24"),
        ({"group_channels": [1, 1, 1, 1]}, 'needs conv "inhomogeneous", received "static"'),
        ({"conv": "inhomogeneous", "share_channels": 2}, "shared by group_channels"),
        ({"conv": "inhomogeneous", "group_channels": [3, 6]}, "each of 4 stages"),
        (
            {"conv": "inhomogeneous", "group_channels": [3, 5, 12, 24]},
            "group_channels 5 does not divide the 48 channels of stage 2",
        ),
    ],
)
def test_faults_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**NANO, **arguments})
