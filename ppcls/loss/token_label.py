"""Token labelling: every token of an image is classified besides the image.

Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision Transformers", arXiv
2104.10858, as VOLO (arXiv 2106.13112) is trained with.
"""

from collections.abc import Mapping
from typing import Any, Optional

import paddle
import paddle.nn.functional as F

from ppcls.config.types import NonNegativeFloat
from ppcls.errors import ConfigError
from ppcls.loss.base import Loss, SmoothingFactor, label_rows, main_logits
from ppcls.registry import LOSSES


@LOSSES.register()
class TokenLabelLoss(Loss):
    """Cross entropy of the class logits plus `token_weight` times that of the token logits.

    The model returns, in training, a mapping with `logits` (B, C) and `token_logits` (B, N, C), and
    `mix_box`, int64 [top, left, bottom, right), if it mixed tokens: those in the box of the h x w =
    N map came from the sample at the other end of the batch. With m the share of the box, the class
    target of sample b is (1 - m) y[b] + m y[B - 1 - b]; token logits are back with their sample.

    Args:
        weight: factor of this loss in the sum.
        token_weight: factor of the token logits' cross entropy.
        epsilon: label smoothing of class and token targets; null or 0 for none.
    """

    def __init__(
        self,
        weight: float = 1.0,
        token_weight: NonNegativeFloat = 0.5,
        epsilon: Optional[SmoothingFactor] = None,
    ):
        super().__init__(weight)
        self.token_weight = token_weight
        self.epsilon = epsilon

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            outputs: what the model returned in training.
            labels: (B,) or (B, 1) int64 or (B, C) float, of all tokens alike; or (B, 1 + N, C)
                float, those of the image and of each token, row by row.

        Raises:
            ConfigError: `outputs` have no token logits.
        """
        if not isinstance(outputs, Mapping) or "token_logits" not in outputs:
            raise ConfigError(
                "TokenLabelLoss needs a model that returns token logits in training: set "
                "Arch.return_dense: true (VOLO), and another loss, e.g. CELoss, in Loss.Eval"
            )
        logits = main_logits(outputs)
        token_logits = paddle.cast(outputs["token_logits"], "float32")
        N, C = token_logits.shape[1:]
        rows = label_rows(labels, C, self.epsilon)
        if rows.ndim == 3:
            rows, token_rows = rows[:, 0], rows[:, 1:]
        else:
            token_rows = paddle.expand(paddle.unsqueeze(rows, 1), [-1, N, -1])
        box = outputs.get("mix_box")
        if box is not None:
            top, left, bottom, right = paddle.unbind(paddle.cast(box, "float32"))
            share = (bottom - top) * (right - left) / N
            rows = rows + share * (paddle.flip(rows, axis=[0]) - rows)
        loss = F.cross_entropy(logits, rows, soft_label=True)
        token_loss = F.cross_entropy(token_logits, token_rows, soft_label=True)
        return loss + self.token_weight * token_loss
