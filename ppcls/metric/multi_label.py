"""Metrics of multi-label classification.

A class is predicted where its sigmoid probability exceeds a threshold. Labels are rows (B, C) as in
`ppcls.loss.multi_label`; entries of -1 (unknown) are left out.
"""

from typing import Any, Callable, Literal, Optional

import numpy as np
import paddle
import paddle.nn.functional as F

from ppcls.config.types import Probability
from ppcls.loss.base import main_logits
from ppcls.loss.multi_label import multi_label_rows
from ppcls.metric.base import Metric
from ppcls.registry import METRICS


class _Thresholded(Metric):
    """A ratio of two counts over decisions right or wrong; `_count` says which."""

    def __init__(self, bi_threshold: float):
        self.bi_threshold = bi_threshold
        super().__init__(sums=2, dtype="int64")

    @paddle.no_grad()
    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Adds a batch: logits (B, C), labels (B, C) float."""
        rows = multi_label_rows(labels, type(self).__name__)
        predicted = F.sigmoid(main_logits(outputs)) > self.bi_threshold
        is_wrong = paddle.logical_xor(predicted, rows > 0.5)
        is_known = rows >= 0
        counts = self._count(paddle.logical_and(is_wrong, is_known), is_known)
        self._sums = self._sums + paddle.stack(counts)

    def _count(
        self, is_wrong: paddle.Tensor, is_known: paddle.Tensor
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        """What is counted, and out of how many; both int64 scalars."""
        raise NotImplementedError

    def compute(self) -> "dict[str, float]":
        """The ratio in [0, 1] under the metric's name."""
        count, total = self._sums.tolist()
        return {type(self).__name__: count / total} if total else {}


@METRICS.register()
class HammingDistance(_Thresholded):
    """Share of wrong decisions among all (image, class) pairs; smaller is better.

    Args:
        bi_threshold: probability above which a class is predicted.
    """

    higher_is_better = False

    def __init__(self, bi_threshold: Probability = 0.5):
        super().__init__(bi_threshold)

    def _count(
        self, is_wrong: paddle.Tensor, is_known: paddle.Tensor
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        return _total(is_wrong), _total(is_known)


@METRICS.register()
class AccuracyScore(_Thresholded):
    """Share of right decisions.

    Args:
        base: `label` counts (image, class) pairs, `sample` counts images, which are right when
            every class is.
        bi_threshold: probability above which a class is predicted.
    """

    def __init__(
        self,
        base: Literal["sample", "label"] = "label",
        bi_threshold: Probability = 0.5,
    ):
        super().__init__(bi_threshold)
        self.base = base

    def _count(
        self, is_wrong: paddle.Tensor, is_known: paddle.Tensor
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        if self.base == "label":
            return _total(is_known) - _total(is_wrong), _total(is_known)
        samples = is_wrong.shape[0]
        right = samples - _total(paddle.any(is_wrong, axis=1))
        return right, paddle.full([], samples, dtype="int64")


class KeptSamples(Metric):
    """A metric of all samples at once, whose logits and labels are kept: for `Metric.Eval`."""

    def __init__(self) -> None:
        self.reset()

    @paddle.no_grad()
    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Keeps a batch: logits (B, C), labels (B, C) float."""
        rows = multi_label_rows(labels, type(self).__name__)
        self._batches.append(paddle.stack([main_logits(outputs), rows], axis=1).numpy())

    def samples(self) -> "Optional[tuple[np.ndarray, np.ndarray]]":
        """Logits and labels of all samples, (N, C) each; None if there are none."""
        if not self._batches:
            return None
        joined = np.concatenate(self._batches)
        return joined[:, 0], joined[:, 1]

    def reset(self) -> None:
        """Forgets all samples."""
        self._batches: list[np.ndarray] = []

    def state(self) -> paddle.Tensor:
        """(N, 2, C): logits and labels of the samples so far; an empty tensor for none."""
        if not self._batches:
            return paddle.zeros([0], dtype="float32")
        return paddle.to_tensor(np.concatenate(self._batches))

    def load_state(self, state: paddle.Tensor) -> None:
        """Replaces the samples."""
        self.reset()
        self.merge(state)

    def merge(self, state: paddle.Tensor) -> None:
        """Adds the samples behind another metric's `state`."""
        if state.shape[0]:
            self._batches.append(state.numpy())

    def reduce(
        self, total: "Callable[[paddle.Tensor], paddle.Tensor]", rank: int, world_size: int
    ) -> None:
        """Replaces the samples by those of all processes."""
        own = self.state()
        # Sizes, then samples: each process fills its own part of zeros, and the sum has all.
        width = int(np.prod(own.shape[1:])) if own.ndim > 1 else 0
        sizes = paddle.zeros([world_size, 2], dtype="int64")
        sizes[rank] = paddle.to_tensor([own.shape[0], width], dtype="int64")
        sizes = total(sizes).numpy()
        counts, width = sizes[:, 0], int(sizes[:, 1].max())
        if not width:
            return
        start = int(counts[:rank].sum())
        joined = np.zeros((int(counts.sum()), 2, width // 2), dtype=np.float32)
        if own.shape[0]:
            joined[start : start + own.shape[0]] = own.numpy()
        self.load_state(total(paddle.to_tensor(joined)))


@METRICS.register()
class MultiLabelMAP(KeptSamples):
    """Mean over the classes of the average precision of ranking the images by that class's logit.

    Average precision depends on the order of all images. Images with equal logits have one rank,
    that of the last of them. Classes that no image has are left out.

    Args:
        map_type: `integral` sums precision over each step of recall; `11point` averages the best
            precision at recall >= 0, 0.1, ..., 1 (PASCAL VOC 2007).
    """

    def __init__(self, map_type: Literal["integral", "11point"] = "integral"):
        super().__init__()
        self.map_type = map_type

    def compute(self) -> "dict[str, float]":
        """`{"MultiLabelMAP": ...}` in [0, 1]; empty when no image has a class."""
        logits, rows = self.samples() or (np.empty(0), np.empty(0))
        precisions = [
            _average_precision(scores, labels, self.map_type)
            for scores, labels in zip(logits.T, rows.T)
            if (labels > 0.5).any()
        ]
        return {"MultiLabelMAP": float(np.mean(precisions))} if precisions else {}


METRICS.add("mAP", MultiLabelMAP)


def _average_precision(scores: np.ndarray, labels: np.ndarray, map_type: str) -> float:
    """Average precision of one class; scores and labels (N,), at least one label is 1."""
    is_known = labels >= 0
    scores, labels = scores[is_known], labels[is_known] > 0.5
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(labels[order])
    last_of_equals = np.append(scores[1:] != scores[:-1], True)
    precision = (found / np.arange(1, len(found) + 1))[last_of_equals]
    recall = found[last_of_equals] / found[-1]
    if map_type == "integral":
        return float((np.diff(recall, prepend=0.0) * precision).sum())
    return float(np.mean([precision[recall >= k / 10].max() for k in range(11)]))


def _total(mask: paddle.Tensor) -> paddle.Tensor:
    return paddle.sum(paddle.cast(mask, "int64"))
