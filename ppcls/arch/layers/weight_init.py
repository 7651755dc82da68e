"""Initial values of weights."""

from paddle import nn
from paddle.nn.initializer import Constant, TruncatedNormal


def init_trunc_normal(model: nn.Layer, std: float = 0.02) -> None:
    """Truncated-normal weights and zero biases for every linear layer of `model`.

    Weights are drawn from N(0, std^2) cut at -2 and 2, as vision transformers are initialised.
    Convolutions keep Paddle's He-normal values, normalisation layers their scale 1 and shift 0.
    """
    draw, zero = TruncatedNormal(std=std), Constant(0.0)
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, nn.Linear):
            draw(layer.weight)
            if layer.bias is not None:
                zero(layer.bias)
