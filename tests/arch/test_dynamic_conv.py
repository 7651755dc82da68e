"""Dynamic depth-wise convolution: values, gradients, and the form that is exported."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch.layers import dynamic_depthwise_conv2d, dynamic_depthwise_conv2d_macs
from tests.arch.exported import export, operators, run_onnx, run_paddle
from tests.arch.gradients import check_gradients

rng = np.random.RandomState(0)


def direct_sum(x: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    K, (H, W) = kernels.shape[-1], x.shape[2:]
    r = K // 2
    padded = np.pad(x, [(0, 0), (0, 0), (r, r), (r, r)])
    y = np.zeros_like(x)
    for i in range(H):
        for j in range(W):
            y[:, :, i, j] = (padded[:, :, i : i + K, j : j + K] * kernels).sum((2, 3))
    return y


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("size", [(5, 9), (1, 1), (8, 2)])
def test_values(kernel_size, size):
    x = rng.standard_normal((3, 4, *size))
    kernels = rng.standard_normal((3, 4, kernel_size, kernel_size))
    bias = rng.standard_normal((3, 4))
    expected = direct_sum(x, kernels)
    x, kernels = paddle.to_tensor(x), paddle.to_tensor(kernels)
    np.testing.assert_allclose(
        dynamic_depthwise_conv2d(x, kernels).numpy(), expected, rtol=0, atol=1e-12
    )
    for value in (bias, bias[0]):
        y = dynamic_depthwise_conv2d(x, kernels, paddle.to_tensor(value)).numpy()
        shift = np.broadcast_to(value, (3, 4))[:, :, None, None]
        np.testing.assert_allclose(y, expected + shift, rtol=0, atol=1e-12)


def test_gradients():
    x, kernels = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 3, 3, 3))
    check_gradients(dynamic_depthwise_conv2d, x, kernels, rng.standard_normal((2, 3)))


def test_macs():
    assert dynamic_depthwise_conv2d_macs(paddle.zeros([2, 3, 4, 5]), 7) == 2 * 3 * 4 * 5 * 49


class _Layer(nn.Layer):
    def __init__(self, kernel_size):
        super().__init__()
        self.kernel_size = kernel_size
        self.generate = nn.Linear(3, 3 * kernel_size**2)

    def forward(self, x):
        kernels = self.generate(paddle.mean(x, axis=[2, 3]))
        kernels = paddle.reshape(kernels, [-1, 3, self.kernel_size, self.kernel_size])
        return dynamic_depthwise_conv2d(x, kernels)


def check_exported(layer, program, x):
    expected = layer(paddle.to_tensor(x)).numpy()
    for y in (
        run_paddle(program, x, onednn=False),
        run_paddle(program, x, onednn=True),
        run_onnx(program, x),
    ):
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


shapes = pytest.mark.parametrize(("kernel_size", "size"), [(7, (6, 11)), (3, (2, 1))])


@shapes
def test_exported_form_has_a_free_batch(kernel_size, size, tmp_path):
    paddle.seed(0)
    layer = _Layer(kernel_size)
    program = export(layer, tmp_path, (3, *size))
    for batch in (1, 5):
        check_exported(layer, program, rng.standard_normal((batch, 3, *size)).astype("float32"))


@shapes
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_stays_a_convolution(kernel_size, size, batch, tmp_path):
    paddle.seed(0)
    layer = _Layer(kernel_size)
    program = export(layer, tmp_path, (3, *size), batch)
    assert "pd_op.depthwise_conv2d" in operators(program)
    check_exported(layer, program, rng.standard_normal((batch, 3, *size)).astype("float32"))
