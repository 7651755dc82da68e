"""Losses of multi-label classification: an image may have several classes, or none.

Labels are rows (B, C) of 0 and 1, or -1 where nobody knows; an unknown entry costs nothing.
"""

from typing import Any, Literal, Optional

import paddle
import paddle.nn.functional as F

from ppcls.config.types import NonNegativeFloat, PositiveFloat, Probability
from ppcls.errors import ConfigError
from ppcls.loss.base import Loss, SmoothingFactor, main_logits
from ppcls.registry import LOSSES


@LOSSES.register()
class MultiLabelLoss(Loss):
    """Binary cross entropy of every class's sigmoid probability.

    Args:
        weight: factor of this loss in the sum.
        epsilon: label smoothing, y -> (1 - e) * y + e / C; null or 0 for none.
        size_sum: sum over the classes of an image (mean over images) instead of the mean of all.
        weight_ratio: entries count by how rare they are, exp(1 - r) where the class is present and
            exp(r) where it is not, r its share of the training images (Li et al. 2015, "Multi-
            attribute Learning for Pedestrian Attribute Recognition", eq. 5). The labels are then
            (B, 2, C): presence, and r.
    """

    def __init__(
        self,
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        size_sum: bool = False,
        weight_ratio: bool = False,
    ):
        super().__init__(weight)
        self.epsilon = epsilon
        self.size_sum = size_sum
        self.weight_ratio = weight_ratio

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B, C), (B, 1, C) or with `weight_ratio` (B, 2, C).

        Raises:
            ConfigError: the labels are of another form.
        """
        logits = main_logits(outputs)
        rows = multi_label_rows(labels, "MultiLabelLoss")
        if self.weight_ratio:
            count = multi_label_weights(labels, "MultiLabelLoss")
        else:
            count = paddle.cast(rows >= 0, "float32")
        if self.epsilon:
            rows = F.label_smooth(rows, epsilon=self.epsilon)
        cost = F.binary_cross_entropy_with_logits(logits, rows, reduction="none") * count
        return paddle.mean(paddle.sum(cost, axis=1)) if self.size_sum else paddle.mean(cost)


@LOSSES.register()
class MultiLabelAsymmetricLoss(Loss):
    """Focal loss with a weaker focus on present classes and easy absent ones left out.

    Ridnik et al. 2021, https://arxiv.org/abs/2009.14119, eq. 4 to 7: with p the probability and
    q = min(1 - p + clip, 1), a present class costs -(1 - p)^gamma_pos * log p and an absent one
    -(1 - q)^gamma_neg * log q.

    Args:
        weight: factor of this loss in the sum.
        gamma_pos: focus on present classes.
        gamma_neg: focus on absent classes.
        clip: absent classes with p below it cost nothing; null or 0 for none.
        epsilon: logarithms are of numbers no smaller than this.
        disable_focal_loss_grad: no gradient through the factors in front of the logarithms.
        reduction: `sum` or `mean` over all entries.
    """

    def __init__(
        self,
        weight: float = 1.0,
        gamma_pos: NonNegativeFloat = 1.0,
        gamma_neg: NonNegativeFloat = 4.0,
        clip: Optional[Probability] = 0.05,
        epsilon: PositiveFloat = 1e-8,
        disable_focal_loss_grad: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
    ):
        super().__init__(weight)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip or 0.0
        self.epsilon = epsilon
        self.disable_focal_loss_grad = disable_focal_loss_grad
        self.reduction = reduction

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B, C) or (B, 1, C)."""
        present = F.sigmoid(main_logits(outputs))
        rows = multi_label_rows(labels, "MultiLabelAsymmetricLoss")
        absent = paddle.clip(1.0 - present + self.clip, max=1.0)
        right = rows * present + (1.0 - rows) * absent
        # Not quite 0: the gradient of x^gamma at 0 is infinite for gamma < 1.
        doubt = paddle.clip(1.0 - right, min=self.epsilon)
        gamma = self.gamma_pos * rows + self.gamma_neg * (1.0 - rows)
        focus = paddle.pow(doubt, gamma)
        if self.disable_focal_loss_grad:
            focus = focus.detach()
        cost = -focus * paddle.log(paddle.clip(right, min=self.epsilon))
        cost = cost * paddle.cast(rows >= 0, "float32")
        return paddle.sum(cost) if self.reduction == "sum" else paddle.mean(cost)


def multi_label_rows(labels: paddle.Tensor, component: str) -> paddle.Tensor:
    """Labels (B, C), (B, 1, C) or (B, 2, C) of a multi-label dataset as rows (B, C) float32.

    Args:
        component: who asks, for the message.

    Raises:
        ConfigError: they are class numbers.
    """
    if not paddle.is_floating_point(labels):
        raise ConfigError(
            f"{component} is for images with several classes each; the labels here are class "
            "numbers. Use MultiLabelDataset, or CELoss and TopkAcc"
        )
    return paddle.cast(labels[:, 0] if labels.ndim == 3 else labels, "float32")


def multi_label_weights(labels: paddle.Tensor, component: str) -> paddle.Tensor:
    """Weights (B, C) of the entries of labels (B, 2, C), see `MultiLabelLoss.weight_ratio`.

    Raises:
        ConfigError: the labels come without the classes' shares.
    """
    if labels.ndim != 3 or labels.shape[1] != 2:
        raise ConfigError(
            f"{component}.weight_ratio needs the share of each class beside the labels: set "
            "label_ratio: true in the dataset, or weight_ratio: false"
        )
    rows, ratio = paddle.unbind(paddle.cast(labels, "float32"), axis=1)
    present = paddle.cast(rows > 0.5, "float32")
    weights = paddle.exp(present * (1.0 - ratio) + (1.0 - present) * ratio)
    return weights * paddle.cast(rows >= 0, "float32")
