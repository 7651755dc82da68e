"""Top-k accuracy."""

from typing import Any, Optional, Union

import paddle

from ppcls.config.types import PositiveInt
from ppcls.loss.base import is_soft, main_logits
from ppcls.loss.distillation import output_of
from ppcls.metric.base import Metric
from ppcls.registry import METRICS
from ppcls.utils.logger import logger


@METRICS.register()
class TopkAcc(Metric):
    """Fraction of samples whose class is among the k largest logits, named `top1`, `top5`, ...

    A k above the number of classes counts as that number, under the name the user wrote. A row of
    logits with a NaN counts as wrong. Batches with soft labels (after Mixup or CutMix) have no
    one right class and are skipped, as PaddleClas does: after only such, `compute` is empty.

    Args:
        topk: one k or several.
    """

    def __init__(self, topk: Union[PositiveInt, list[PositiveInt]] = (1, 5)):
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        self._capped = False
        # Samples found at each k, then all samples.
        super().__init__(sums=len(self.topk) + 1, dtype="int64")

    @paddle.no_grad()
    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Adds a batch: logits (B, C), labels (B,) or (B, 1) int64."""
        if is_soft(labels):
            return
        logits = main_logits(outputs)
        samples, class_num = logits.shape
        largest = min(max(self.topk), class_num)
        self._announce_cap(class_num)
        predicted = paddle.topk(logits, k=largest, axis=1)[1]
        found = paddle.equal(predicted, paddle.reshape(labels, [-1, 1]))
        valid = paddle.logical_not(paddle.any(paddle.isnan(logits), axis=1, keepdim=True))
        found = paddle.cast(paddle.logical_and(found, valid), "int64")
        # found_within[j]: samples whose class is among the j + 1 largest logits.
        found_within = paddle.cumsum(paddle.sum(found, axis=0))
        counts = [found_within[min(k, class_num) - 1] for k in self.topk]
        counts.append(paddle.full([], samples, dtype="int64"))
        self._sums = self._sums + paddle.stack(counts)

    def compute(self) -> "dict[str, float]":
        """`{"top1": ..., "top5": ...}` in [0, 1]; waits for the device."""
        *found, samples = self._sums.tolist()
        if samples == 0:
            return {}
        return {f"top{k}": count / samples for k, count in zip(self.topk, found)}

    def _announce_cap(self, class_num: int) -> None:
        above = [k for k in self.topk if k > class_num]
        if above and not self._capped:
            self._capped = True
            names = ", ".join(f"top{k}" for k in above)
            logger.warning(f"TopkAcc: there are only {class_num} classes, so {names} is always 1")


METRICS.add("GoogLeNetTopkAcc", TopkAcc)


@METRICS.register()
class DistillationTopkAcc(TopkAcc):
    """`TopkAcc` of one model of a `DistillationModel`.

    Args:
        model_key: name of the model.
        feature_key: which of its outputs are the logits.
        topk: one k or several.
    """

    def __init__(
        self,
        model_key: str,
        feature_key: Optional[str] = None,
        topk: Union[PositiveInt, list[PositiveInt]] = (1, 5),
    ):
        super().__init__(topk)
        self.model_key = model_key
        self.feature_key = feature_key

    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Adds a batch: outputs of a `DistillationModel`, labels (B,) or (B, 1) int64."""
        super().update(output_of(outputs, self.model_key, self.feature_key), labels)
