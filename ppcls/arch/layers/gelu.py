"""The GELU activation, traceable into both program formats."""

import paddle
import paddle.nn.functional as F

from ppcls.arch.layers.legacy import legacy_operator, tracing_legacy_program


def gelu(x: paddle.Tensor) -> paddle.Tensor:
    """x * P(X <= x) for a standard normal X, exact (erf); Hendrycks & Gimpel, arXiv 1606.08415."""
    if tracing_legacy_program():
        return legacy_operator("gelu", {"X": x}, approximate=False)
    return F.gelu(x)
