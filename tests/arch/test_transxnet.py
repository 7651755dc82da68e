"""TransXNet: golden values, published counts, position tables, sizes, errors."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppcls.arch import build_model
from ppcls.arch.complexity import count_complexity
from ppcls.arch.layers import resize_table_bicubic
from ppcls.arch.weights import load_weights
from ppcls.errors import ConfigError
from tests.arch import golden

NANO = {
    "name": "TransXNet",
    "class_num": 10,
    "img_size": 64,
    "layers": [1, 1, 2, 1],
    "embed_dims": [16, 32, 64, 96],
    "num_heads": [1, 2, 4, 8],
    "drop_path_rate": 0.0,
}
FIXTURES = {
    "transxnet_nano": NANO,
    "transxnet_t": {"name": "TransXNet_T", "drop_path_rate": 0.0},
}


@pytest.fixture(params=FIXTURES)
def fixture(request, shared_dir):
    return golden.load_fixture(shared_dir, request.param)


def build_golden(fixture, **extra):
    model = build_model({**FIXTURES[fixture["name"]], **extra})
    golden.load_golden_weights(model, fixture)
    return model


def test_golden_logits(fixture):
    golden.check_eval_logits(build_golden(fixture), fixture)


def test_golden_logits_float64(fixture):
    golden.check_eval_logits_float64(lambda: build_model(FIXTURES[fixture["name"]]), fixture)


def test_golden_gradients(fixture):
    golden.check_gradients(build_golden(fixture), fixture)


def test_golden_train_mode(fixture):
    golden.check_train_mode(build_golden(fixture), fixture)


def test_golden_gradients_with_recompute(shared_dir):
    fixture = golden.load_fixture(shared_dir, "transxnet_nano")
    model = build_golden(fixture, use_recompute=True)
    model.train()
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer.eval()
    golden.check_gradients(model, fixture, keep_mode=True)


def test_golden_complexity(shared_dir):
    fixture = golden.load_fixture(shared_dir, "transxnet_t")
    complexity = count_complexity(build_model("TransXNet_T"), (3, 224, 224))
    assert complexity.parameters == fixture["num_params"]
    assert complexity.total_macs == fixture["macs"]["total"]
    for kind, count in complexity.macs.items():
        assert count == fixture["macs"][kind]


@pytest.mark.parametrize(
    ("name", "parameters", "conv_linear", "functional"),
    [("TransXNet_S", 26.86, 4.452, 0.155), ("TransXNet_B", 48.01, 8.131, 0.222)],
)
def test_published_complexity(name, parameters, conv_linear, functional):
    complexity = count_complexity(build_model(name), (3, 224, 224))
    assert round(complexity.parameters / 1e6, 2) == parameters
    assert round(complexity.macs.pop("conv_linear") / 1e9, 3) == conv_linear
    assert round(sum(complexity.macs.values()) / 1e9, 3) == functional


@pytest.mark.parametrize("size", [(16, 4), (25, 9), (7, 1), (16, 7)])
def test_tables_are_resized_as_images(size):
    paddle.seed(0)
    table = paddle.randn([1, 3, 16, 4])
    expected = F.interpolate(table, size, mode="bicubic", align_corners=False)
    if size[1] == 1:
        # Paddle's operator takes the first pixel for a single one; PyTorch's takes the middle.
        middle = F.interpolate(table, (size[0], 4), mode="bicubic", align_corners=False)
        weights = paddle.to_tensor([-0.09375, 0.59375, 0.59375, -0.09375])
        expected = paddle.sum(middle * weights, axis=-1, keepdim=True)
    y = resize_table_bicubic(table, size)
    # Paddle computes the source positions in float32.
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=0, atol=1e-5)


def test_tables_resized_on_loading_equal_those_resized_at_run_time():
    paddle.seed(0)
    small = build_model(NANO)
    for table in small.relative_pos_enc:
        table.set_value(paddle.randn(table.shape))
    large = build_model({**NANO, "img_size": 96})
    tensors = {name: tensor.numpy() for name, tensor in small.state_dict().items()}
    assert load_weights(large, tensors).fits
    small.eval()
    large.eval()
    x = paddle.randn([2, 3, 96, 96])
    with paddle.no_grad():
        expected, logits = small(x).numpy(), large(x).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (37, 50), (1, 1)])
def test_any_size(size):
    model = build_model(NANO)
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.ones([1, 3, *size]))
    assert logits.shape == [1, 10]
    assert bool(paddle.isfinite(logits).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [1, 1]}, "layers needs a value for each of four stages"),
        ({"num_heads": [3, 2, 4, 8]}, "half of 16 channels cannot be divided among 3 heads"),
        ({"kernel_size": [7, 6, 7, 7]}, "kernel_size must be odd"),
        ({"sr_ratio": [8, 3, 2, 1]}, "sr_ratio must be 1 or even"),
    ],
)
def test_faults_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**NANO, **arguments})
