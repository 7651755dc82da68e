"""The weighted sum of a list of losses."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import paddle
from paddle import nn

from ppcls.registry import LOSSES, parse_spec


class CombinedLoss(nn.Layer):
    """Sum over `weight * loss` of the losses in `Loss.Train` or `Loss.Eval`.

    Unlike PaddleClas, which drops the weight of a lone loss, every weight counts.

    Args:
        specs: the YAML list, e.g. `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.
    """

    def __init__(self, specs: Sequence[Any]):
        super().__init__()
        self.losses = nn.LayerList([LOSSES.build(spec) for spec in specs])
        self.names = _distinct([parse_spec(spec)[0] for spec in specs])

    def prepare(self, labels: Optional[np.ndarray], class_num: int) -> None:
        """Tells every loss about the training set, see `Loss.prepare`."""
        for loss in self.losses:
            loss.prepare(labels, class_num)

    def forward(self, outputs: Any, labels: paddle.Tensor) -> "dict[str, paddle.Tensor]":
        """Scalar tensors: each loss, times its weight, by name; and their sum as `loss`.

        Args:
            outputs: what the model returned, see `ppcls.loss.base.main_logits`.
            labels: (B,) int64, or (B, C) float32 after Mixup/CutMix.
        """
        parts = {
            name: loss(outputs, labels) * loss.weight for name, loss in zip(self.names, self.losses)
        }
        parts["loss"] = paddle.add_n(list(parts.values()))
        return parts


def _distinct(names: "list[str]") -> "list[str]":
    """`[A, A, B]` as `[A, A_2, B]`, so that each part has its own place in the log."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct
