"""Distillation of several levels at once, from the last to the first.

Chen et al. 2021, "Distilling Knowledge via Knowledge Review", https://arxiv.org/abs/2104.09044.
"""

from typing import Literal, Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.config.types import PositiveInt
from ppcls.errors import ConfigError

#: Sizes that maps are pooled to, besides their own; each weighs half as much as the one before.
_POOLED = (4, 2, 1)


class ReviewKDLoss(nn.Layer):
    """Distance of the teacher's maps and the learner's, each fused with those of later levels.

    Weights are shared by nothing else and trained with the model.

    Args:
        student_channels: of the learner's maps, from the first level to the last.
        teacher_channels: of the teacher's.
        mid_channel: channels in which levels are fused.
        hcl_mode: how maps are pooled where they are compared at smaller sizes.
    """

    #: `DistillationPairLoss` gives it all outputs at once.
    takes_all_levels = True

    def __init__(
        self,
        student_channels: list[PositiveInt],
        teacher_channels: list[PositiveInt],
        mid_channel: PositiveInt = 256,
        hcl_mode: Literal["avg", "max"] = "avg",
    ):
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise ConfigError(
                "ReviewKDLoss: student_channels and teacher_channels must have as many entries, "
                "one per level"
            )
        last = len(student_channels) - 1
        self.levels = nn.LayerList(
            [
                _Fusion(own, mid_channel, target, with_later=level < last)
                for level, (own, target) in enumerate(zip(student_channels, teacher_channels))
            ]
        )
        self.mode = hcl_mode

    def forward(
        self, learner: "list[paddle.Tensor]", teacher: "list[paddle.Tensor]"
    ) -> paddle.Tensor:
        """Maps (B, C, H, W) of each level, of the same heights and widths.

        Raises:
            ConfigError: there are more or fewer levels than channels, or sizes differ.
        """
        if len(learner) != len(self.levels):
            raise ConfigError(
                f"ReviewKDLoss: student_channels has {len(self.levels)} entries, but s_key names "
                f"{len(learner)} outputs"
            )
        losses, later = [], None
        for fusion, own, target in reversed(list(zip(self.levels, learner, teacher))):
            result, later = fusion(own, later)
            if result.shape != target.shape:
                raise ConfigError(
                    f"ReviewKDLoss: an output of the teacher is {list(target.shape)}, that of the "
                    f"learner becomes {list(result.shape)}; name outputs of the same height and "
                    "width, and their channels in teacher_channels"
                )
            losses.append(self._distance(result, target.detach()))
        return paddle.add_n(losses)

    def _distance(self, own: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """The hierarchical context loss (section 3.3): weighted mean over sizes of the maps."""
        pool = F.adaptive_avg_pool2d if self.mode == "avg" else F.adaptive_max_pool2d
        loss, weight, total = F.mse_loss(own, target), 1.0, 1.0
        for size in _POOLED:
            if size < own.shape[2]:
                weight /= 2
                total += weight
                loss = loss + weight * F.mse_loss(pool(own, size), pool(target, size))
        return loss / total


class _Fusion(nn.Layer):
    """Attention-based fusion of a level with the fused later ones (section 3.3)."""

    def __init__(self, own: int, middle: int, target: int, with_later: bool):
        super().__init__()
        uniform = nn.initializer.KaimingUniform(negative_slope=1, nonlinearity="leaky_relu")
        self.reduce = nn.Sequential(
            nn.Conv2D(own, middle, 1, weight_attr=uniform, bias_attr=False), nn.BatchNorm2D(middle)
        )
        self.expand = nn.Sequential(
            nn.Conv2D(middle, target, 3, padding=1, weight_attr=uniform, bias_attr=False),
            nn.BatchNorm2D(target),
        )
        self.attention = nn.Conv2D(2 * middle, 2, 1) if with_later else None

    def forward(
        self, own: paddle.Tensor, later: Optional[paddle.Tensor]
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        """Maps to compare with the teacher's (B, target, H, W), and for earlier levels."""
        fused = self.reduce(own)
        if self.attention is not None:
            later = F.interpolate(later, fused.shape[2:], mode="nearest")
            gates = F.sigmoid(self.attention(paddle.concat([fused, later], axis=1)))
            fused = fused * gates[:, :1] + later * gates[:, 1:]
        return self.expand(fused), fused
