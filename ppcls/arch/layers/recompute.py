"""Activation recomputation: less memory in training for one more forward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.
"""

import contextlib
from collections.abc import Iterator

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute as paddle_recompute


def recompute(block: nn.Layer, *inputs: paddle.Tensor) -> paddle.Tensor:
    """`block(*inputs)` that keeps only its inputs for the backward pass and runs again there.

    Gradients and running statistics are those of a plain call: random numbers repeat, and batch
    normalisation updates its statistics in the first run only.
    """

    def run(*inputs: paddle.Tensor) -> paddle.Tensor:
        # The first run happens under no_grad, the second, inside backward, with gradients.
        if paddle.is_grad_enabled():
            with _frozen_statistics(block):
                return block(*inputs)
        return block(*inputs)

    return paddle_recompute(run, *inputs)


@contextlib.contextmanager
def _frozen_statistics(block: nn.Layer) -> "Iterator[None]":
    layers = [layer for layer in block.sublayers() if hasattr(layer, "_momentum")]
    momenta = [layer._momentum for layer in layers]
    for layer in layers:
        layer._momentum = 1.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer._momentum = momentum
