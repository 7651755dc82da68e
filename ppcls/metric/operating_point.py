"""Metrics of two classes at a chosen operating point."""

from typing import Any

import paddle
import paddle.nn.functional as F

from ppcls.config.types import Probability
from ppcls.errors import ConfigError
from ppcls.loss.base import is_soft, main_logits
from ppcls.metric.base import Metric
from ppcls.registry import METRICS

_THRESHOLDS = 10000


@METRICS.register()
class TprAtFpr(Metric):
    """The best true-positive rate where the false-positive rate is at most `max_fpr`.

    Class 1 is predicted above a threshold of its softmax probability; 0, 0.0001, ..., 0.9999 are
    tried. Batches with soft labels are skipped.

    Args:
        max_fpr: the part of the images of class 0 that may be taken for class 1.
    """

    def __init__(self, max_fpr: Probability = 0.001):
        self.max_fpr = max_fpr
        # Images of class 0, then of class 1, by how many thresholds their probability exceeds.
        super().__init__(sums=2 * (_THRESHOLDS + 1), dtype="int64")

    @paddle.no_grad()
    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Adds a batch: logits (B, 2), labels (B,) or (B, 1) int64.

        Raises:
            ConfigError: there are not two classes.
        """
        if is_soft(labels):
            return
        logits = main_logits(outputs)
        if logits.shape[1] != 2:
            raise ConfigError(
                f"Metric: TprAtFpr is for two classes, but the model has {logits.shape[1]}"
            )
        probability = F.softmax(logits, axis=1)[:, 1]
        exceeded = paddle.ceil(probability * _THRESHOLDS)
        # NaN exceeds nothing.
        exceeded = paddle.where(paddle.isnan(exceeded), paddle.zeros_like(exceeded), exceeded)
        places = paddle.flatten(labels) * (_THRESHOLDS + 1) + paddle.cast(exceeded, "int64")
        self._sums = self._sums + paddle.bincount(places, minlength=len(self._sums))

    def compute(self) -> "dict[str, float]":
        """`{"TprAtFpr": ...}` in [0, 1]; empty without images of class 1."""
        counts = self._sums.numpy().reshape(2, _THRESHOLDS + 1)
        negatives, positives = counts.sum(axis=1)
        if not positives:
            return {}
        # Images above each threshold: those that exceed more thresholds than it has before it.
        above = counts[:, ::-1].cumsum(axis=1)[:, -2::-1]
        allowed = above[0] <= self.max_fpr * negatives
        return {"TprAtFpr": float((above[1] * allowed).max() / positives)}
