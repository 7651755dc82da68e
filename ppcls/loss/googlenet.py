"""The loss of a network with auxiliary classifiers."""

from typing import Any, Optional

import paddle

from ppcls.errors import ConfigError
from ppcls.loss.base import Loss, SmoothingFactor
from ppcls.loss.cross_entropy import CELoss
from ppcls.registry import LOSSES


@LOSSES.register()
class GoogLeNetLoss(Loss):
    """Cross entropy of the classifier plus 0.3 times that of each auxiliary one.

    Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, section 5.

    Args:
        weight: factor of this loss in the sum.
        epsilon: label smoothing; null or 0 for none.
    """

    def __init__(self, weight: float = 1.0, epsilon: Optional[SmoothingFactor] = None):
        super().__init__(weight)
        self.cross_entropy = CELoss(epsilon=epsilon)

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            outputs: the logits (B, C) of the classifier and of the auxiliary ones, in a sequence.
            labels: (B,) or (B, 1) int64, or (B, C) float.

        Raises:
            ConfigError: the model has no auxiliary classifiers.
        """
        if not isinstance(outputs, (list, tuple)):
            raise ConfigError(
                "GoogLeNetLoss needs a model with auxiliary classifiers (GoogLeNet); use CELoss"
            )
        main, *auxiliary = (self.cross_entropy(logits, labels) for logits in outputs)
        return paddle.add_n([main, *(0.3 * loss for loss in auxiliary)])
