"""Comparing gradients with finite differences in float64, for tests."""

from typing import Callable

import numpy as np
import paddle


def check_gradients(
    function: "Callable[..., paddle.Tensor]", *inputs: np.ndarray, step: float = 1e-6
) -> None:
    """Every partial derivative of a random projection of `function(*inputs)`, by central
    differences. Inputs are float64 arrays; keep them small."""
    tensors = [paddle.to_tensor(value, stop_gradient=False) for value in inputs]
    output = function(*tensors)
    assert output.dtype == paddle.float64
    cotangent = np.random.RandomState(7).standard_normal(output.shape)
    paddle.sum(output * paddle.to_tensor(cotangent)).backward()

    def projected(values: "list[np.ndarray]") -> float:
        with paddle.no_grad():
            return float((function(*map(paddle.to_tensor, values)).numpy() * cotangent).sum())

    for position, tensor in enumerate(tensors):
        expected = np.zeros_like(inputs[position])
        for index in np.ndindex(*expected.shape):
            values = [value.copy() for value in inputs]
            values[position][index] += step
            above = projected(values)
            values[position][index] -= 2 * step
            expected[index] = (above - projected(values)) / (2 * step)
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-6, atol=1e-7)
