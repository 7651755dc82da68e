"""The logistic function, traceable into both program formats."""

import paddle
import paddle.nn.functional as F

from ppcls.arch.layers.legacy import legacy_operator, tracing_legacy_program


def sigmoid(x: paddle.Tensor) -> paddle.Tensor:
    """1 / (1 + exp(-x))."""
    if tracing_legacy_program():
        return legacy_operator("sigmoid", {"X": x})
    return F.sigmoid(x)
