"""Operators in programs of the legacy format (`inference.pdmodel`).

Such programs are traced with `FLAGS_enable_pir_api=0`. Functions that Paddle has moved to C++
(`paddle.matmul` in 3.2, `F.gelu` in 3.3, ...) cannot be traced there any more; the operators
themselves are still known, and appending one by hand is all those functions once did.
"""

from typing import Union

import paddle
from paddle.base.layer_helper import LayerHelper


def tracing_legacy_program() -> bool:
    """Whether the operations of the moment become part of a legacy program."""
    return not paddle.in_dynamic_mode() and not paddle.framework.in_pir_mode()


def legacy_operator(
    kind: str, inputs: "dict[str, paddle.Tensor]", **attributes: Union[bool, int, float]
) -> paddle.Tensor:
    """Appends one operator to the program being traced.

    Args:
        kind: the operator's type, e.g. "matmul_v2".
        inputs: its inputs by the names of the operator's definition; the first gives the type of
            the output, which must be called "Out".
        attributes: its attributes.
    """
    helper = LayerHelper(kind)
    out = helper.create_variable_for_type_inference(next(iter(inputs.values())).dtype)
    helper.append_op(type=kind, inputs=inputs, outputs={"Out": out}, attrs=attributes)
    return out
