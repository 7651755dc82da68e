"""Exact rewrites of a trained model that make inference cheaper.

In evaluation mode much of a network is linear algebra with known numbers: a batch norm is a scale
and a shift, a residual around a depth-wise convolution is one more weight, two linear maps in a row
are one. A layer that can be rewritten has a method `fused()` that returns an equivalent layer for
inference; `fuse_for_inference` applies it wherever it is found. Weights are combined in float64.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Optional, Union

import numpy as np
import paddle
from paddle import nn


def fuse_for_inference(model: nn.Layer) -> nn.Layer:
    """A copy of `model` in evaluation mode that computes the same with fewer, larger operators.

    The copy cannot be trained; its tensors have other names. `model` stays as it is.
    """
    fused = _fused(copy.deepcopy(model))
    fused.eval()
    return fused


def _fused(layer: nn.Layer) -> nn.Layer:
    if hasattr(layer, "fused"):
        return layer.fused()
    for name, child in list(layer.named_children()):
        fused = _fused(child)
        if fused is not child:
            setattr(layer, name, fused)
    return layer


def batch_norm_affine(norm: nn.BatchNorm2D) -> "tuple[np.ndarray, np.ndarray]":
    """Scale and shift (C,) of a batch norm in evaluation mode."""
    scale = _array(norm.weight) / np.sqrt(_array(norm._variance) + norm._epsilon)
    return scale, _array(norm.bias) - scale * _array(norm._mean)


def scale_and_shift(layer: nn.Layer) -> "tuple[np.ndarray, np.ndarray]":
    """Scale and shift (C,) of a layer with a factor and a shift for each channel."""
    return _array(layer.weight).reshape(-1), _array(layer.bias)


def weight_and_bias(layer: "Union[nn.Conv2D, nn.Linear]") -> "tuple[np.ndarray, np.ndarray]":
    """The weight of a convolution as it is, that of a linear layer as [out, in]; and the bias."""
    weight = _array(layer.weight)
    weight = weight.T if isinstance(layer, nn.Linear) else weight
    bias = np.zeros(weight.shape[0]) if layer.bias is None else _array(layer.bias)
    return weight, bias


def pointwise_map(conv: nn.Conv2D) -> "tuple[np.ndarray, np.ndarray]":
    """The weight [out, in] and the bias of a 1x1 convolution."""
    weight, bias = weight_and_bias(conv)
    return weight[:, :, 0, 0], bias


def after_affine(
    weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> "tuple[np.ndarray, np.ndarray]":
    """The linear map x -> weight (scale * x + shift) + bias as weight' x + bias'."""
    return weight * scale, bias + weight @ shift


def before_affine(
    weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> "tuple[np.ndarray, np.ndarray]":
    """The map x -> scale * (weight x + bias) + shift, weight [out, in], as weight' x + bias'."""
    return weight * scale[:, None], scale * bias + shift


def linear_layer(weight: np.ndarray, bias: np.ndarray, dtype: paddle.dtype) -> nn.Linear:
    """A linear layer with weight [out, in]."""
    with _default_dtype(dtype):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    return _with_values(layer, weight.T, bias)


def affine_layer(scale: np.ndarray, shift: np.ndarray, dtype: paddle.dtype) -> nn.BatchNorm2D:
    """x -> scale * x + shift for maps (B, C, H, W), as the operator that engines fuse best."""
    with _default_dtype(dtype):
        layer = nn.BatchNorm2D(len(scale), epsilon=0.0)
    layer.eval()
    return _with_values(layer, scale, shift)


def pointwise_layer(
    weight: np.ndarray, bias: Optional[np.ndarray], dtype: paddle.dtype
) -> nn.Conv2D:
    """A 1x1 convolution with weight [out, in]."""
    with _default_dtype(dtype):
        bias_attr = False if bias is None else None
        layer = nn.Conv2D(weight.shape[1], weight.shape[0], 1, bias_attr=bias_attr)
    return _with_values(layer, weight[:, :, None, None], bias)


def depthwise_layer(
    weight: np.ndarray, bias: np.ndarray, dtype: paddle.dtype, stride: int = 1, padding: int = 0
) -> nn.Conv2D:
    """A depth-wise convolution with weight [C, 1, K, K]."""
    C, _, K, _ = weight.shape
    with _default_dtype(dtype):
        layer = nn.Conv2D(C, C, K, stride, padding, groups=C)
    return _with_values(layer, weight, bias)


def with_identity(weight: np.ndarray, factor: Union[float, np.ndarray] = 1.0) -> np.ndarray:
    """Depth-wise kernels [C, 1, K, K] that add factor * x to what they computed before."""
    centre = weight.shape[-1] // 2
    weight = weight.copy()
    weight[:, 0, centre, centre] += factor
    return weight


def _array(tensor: paddle.Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float64)


def _with_values(layer: nn.Layer, weight: np.ndarray, bias: Optional[np.ndarray]) -> nn.Layer:
    for parameter, value in [(layer.weight, weight), (layer.bias, bias)]:
        if value is None:
            continue
        parameter.set_value(paddle.cast(paddle.to_tensor(value), parameter.dtype))
    return layer


@contextlib.contextmanager
def _default_dtype(dtype: paddle.dtype) -> "Iterator[None]":
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)
