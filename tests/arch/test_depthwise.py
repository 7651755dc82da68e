"""Depth-wise convolution: the product with band matrices equals the convolution it stands for."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch.layers import depthwise
from ppcls.arch.layers.depthwise import DepthwiseConv2D, correlate, correlates_fast
from tests.arch.golden import float64_by_default
from tests.arch.gradients import check_gradients


@pytest.fixture(params=["one workspace", "a workspace for each channel", "uneven workspaces"])
def workspace(request, monkeypatch):
    """How many channels are laid out at a time; the second and third need parts of 5 channels."""
    numbers = {"one workspace": 2**21, "a workspace for each channel": 1}
    monkeypatch.setattr(
        depthwise, "_WORKSPACE", numbers.get(request.param, 2 * 3 * 9 * (3 * 8 + 9))
    )


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("size", [(8, 9), (2, 5), (1, 1), (1, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_a_convolution(kernel_size, size, bias, workspace):
    paddle.seed(0)
    with float64_by_default():
        layer = DepthwiseConv2D(5, kernel_size, bias=bias)
        reference = nn.Conv2D(
            5, 5, kernel_size, padding=kernel_size // 2, groups=5, bias_attr=None if bias else False
        )
    reference.set_state_dict(layer.state_dict())
    if bias:
        layer.bias.set_value(paddle.randn([5], dtype="float64"))
        reference.bias.set_value(layer.bias)
    x = paddle.randn([3, 5, *size], dtype="float64")
    assert correlates_fast(x, kernel_size)
    gradients = []
    for conv in (layer, reference):
        x = x.detach()
        x.stop_gradient = False
        y = conv(x)
        paddle.sum(y * paddle.cos(y.detach())).backward()
        gradients.append([y, x.grad, *(p.grad for p in conv.parameters())])
    for ours, theirs in zip(*gradients):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=1e-12)


def test_gradients(workspace):
    rng = np.random.RandomState(0)
    check_gradients(correlate, rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((5, 3, 3)))


def test_frozen_tensors_get_no_gradient():
    x, kernels = paddle.randn([2, 3, 6, 5]), paddle.randn([3, 3, 3])
    kernels.stop_gradient = False
    correlate(x, kernels).sum().backward()
    assert x.grad is None
    wanted = kernels.grad.numpy()
    x.stop_gradient = False
    correlate(x, kernels.detach()).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(kernels.grad.numpy(), wanted)


def test_wide_maps_stay_convolutions():
    assert correlates_fast(paddle.zeros([1, 1, 500, 84]), 7)
    assert not correlates_fast(paddle.zeros([1, 1, 7, 85]), 7)
