"""The shared layers against their definitions."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ppcls.arch.layers import (
    ChannelLinear,
    DropPath,
    PointwiseConv2D,
    matmul,
    resize_bilinear,
    stochastic_depth_rates,
)
from ppcls.arch.layers.resize import bilinear_weights
from ppcls.errors import ConfigError
from tests.arch.exported import export, operators, run_onnx, run_paddle


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((56, 56), (7, 7)), ((14, 14), (7, 7)), ((9, 15), (3, 5)), ((7, 7), (3, 3)),
        ((3, 3), (7, 7)), ((7, 7), (56, 56)), ((8, 12), (4, 3)), ((5, 3), (2, 1)), ((2, 2), (1, 1)),
        ((1, 1), (4, 4)), ((1, 3), (8, 24)), ((6, 6), (6, 6)), ((10, 4), (7, 9)),
    ],
)  # fmt: skip
def test_resize_is_paddles_bilinear(size, target):
    x = paddle.randn([2, 3, *size])
    ours, theirs = x.clone(), x.clone()
    ours.stop_gradient = theirs.stop_gradient = False
    y = resize_bilinear(ours, target)
    expected = F.interpolate(theirs, size=target, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=0, atol=2e-6)
    cotangent = paddle.randn(y.shape)
    (y * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=0, atol=1e-5)


def test_shrinking_by_a_factor_takes_the_middle_of_each_cell():
    x = np.arange(8.0)
    np.testing.assert_array_equal(bilinear_weights(8, 2) @ x, [1.5, 5.5])
    np.testing.assert_array_equal(bilinear_weights(8, 4) @ x, [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_array_equal(bilinear_weights(6, 2) @ x[:6], [1, 4])


class _Resized(nn.Layer):
    """A resize between two convolutions, where layouts of engines are at their most adventurous."""

    def __init__(self, target):
        super().__init__()
        self.before = nn.Conv2D(3, 8, 1)
        self.after = nn.Conv2D(8, 8, 1)
        self.target = target

    def forward(self, x):
        return self.after(resize_bilinear(F.relu(self.before(x)), self.target))


@pytest.mark.parametrize(
    ("size", "target"),
    [((16, 16), (2, 2)), ((7, 7), (3, 3)), ((1, 1), (2, 2)), ((1, 3), (8, 24)), ((5, 3), (2, 1))],
)
def test_resize_is_exact_in_every_engine(size, target, tmp_path):
    model = _Resized(target)
    program = export(model, tmp_path, (3, *size))
    assert not [name for name in operators(program) if "interp" in name]
    x = np.random.RandomState(0).standard_normal((2, 3, *size)).astype("float32")
    expected = model(paddle.to_tensor(x)).numpy()
    for batch in (1, 2):
        for result in (
            run_paddle(program, x[:batch], onednn=True),
            run_paddle(program, x[:batch], onednn=False),
            run_onnx(program, x[:batch]),
        ):
            np.testing.assert_allclose(result, expected[:batch], rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_pointwise_is_a_convolution(bias, training):
    layer = PointwiseConv2D(6, 4, bias=bias)
    reference = nn.Conv2D(6, 4, 1, bias_attr=None if bias else False)
    reference.set_state_dict(layer.state_dict())
    layer.training = training
    x = paddle.randn([2, 6, 5, 3])
    np.testing.assert_allclose(layer(x).numpy(), reference(x).numpy(), rtol=0, atol=1e-6)


def test_channel_linear_is_a_linear_layer_on_transposed_tokens():
    layer = ChannelLinear(6, 4)
    x = paddle.randn([2, 6, 5])
    expected = F.linear(x.transpose([0, 2, 1]), layer.weight, layer.bias).transpose([0, 2, 1])
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("inner", [1, 5])
@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_y", [False, True])
def test_matmul(inner, transpose_x, transpose_y):
    x = np.random.rand(2, 3, 4, inner).astype("float32")
    y = np.random.rand(2, 3, inner, 6).astype("float32")
    result = matmul(
        paddle.to_tensor(x.swapaxes(2, 3) if transpose_x else x),
        paddle.to_tensor(y.swapaxes(2, 3) if transpose_y else y),
        transpose_x=transpose_x,
        transpose_y=transpose_y,
    )
    np.testing.assert_allclose(result.numpy(), x @ y, rtol=1e-5)


def test_drop_path_drops_samples_and_keeps_the_mean():
    paddle.seed(0)
    layer = DropPath(0.25)
    x = paddle.ones([4000, 2, 3])
    y = layer(x).numpy()
    per_sample = y.reshape(4000, -1)
    assert (per_sample == per_sample[:, :1]).all()
    np.testing.assert_allclose(np.unique(per_sample), [0, 1 / 0.75], rtol=1e-6)
    assert abs(y.mean() - 1) < 0.03
    layer.eval()
    assert layer(x) is x
    with pytest.raises(ConfigError, match="below 1, received 1"):
        DropPath(1.0)


def test_stochastic_depth_rates():
    assert stochastic_depth_rates(0.0, [1, 2]) == [[0.0], [0.0, 0.0]]
    rates = stochastic_depth_rates(0.3, [1, 1, 2])
    np.testing.assert_allclose([rate for stage in rates for rate in stage], [0, 0.1, 0.2, 0.3])
    assert [len(stage) for stage in rates] == [1, 1, 2]
