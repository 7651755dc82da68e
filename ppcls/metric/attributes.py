"""Metrics of recognising attributes: of persons, of vehicles, of tables."""

import numpy as np

from ppcls.config.types import Probability
from ppcls.metric.multi_label import KeptSamples
from ppcls.registry import METRICS


@METRICS.register()
class ATTRMetric(KeptSamples):
    """The metrics of pedestrian attribute recognition, `ma` first.

    Li et al. 2016, "A Richly Annotated Dataset for Pedestrian Attribute Recognition",
    https://arxiv.org/abs/1603.07054. Over attributes: `ma` is the mean of the recalls of presence
    (`label_pos_recall`) and of absence (`label_neg_recall`), `label_f1` the mean of F1 scores. Over
    images: `instance_acc` is the mean intersection over union of the predicted and the right
    attributes, `instance_prec` and `instance_recall` the parts of each that are in the other, and
    `instance_f1` their harmonic mean. A ratio of nothing to nothing is 0.

    Args:
        threshold: the sigmoid probability above which an attribute is predicted. (PaddleClas
            compares the logit with it.)
    """

    def __init__(self, threshold: Probability = 0.5):
        super().__init__()
        self.threshold = threshold

    def compute(self) -> "dict[str, float]":
        """The values by name, in [0, 1]; empty without samples."""
        samples = self.samples()
        if samples is None:
            return {}
        logits, rows = samples
        is_known, present = rows >= 0, rows > 0.5
        with np.errstate(over="ignore"):
            predicted = (1 / (1 + np.exp(-logits)) > self.threshold) & is_known
        found, absent = predicted & present, is_known & ~present

        recall = _ratio(found.sum(0), present.sum(0))
        absent_recall = _ratio((absent & ~predicted).sum(0), absent.sum(0))
        f1 = _ratio(2 * found.sum(0), predicted.sum(0) + present.sum(0))
        image_precision = _ratio(found.sum(1), predicted.sum(1)).mean()
        image_recall = _ratio(found.sum(1), present.sum(1)).mean()
        values = {
            "ma": (recall + absent_recall).mean() / 2,
            "label_f1": f1.mean(),
            "label_pos_recall": recall.mean(),
            "label_neg_recall": absent_recall.mean(),
            "instance_f1": _ratio(
                2 * image_precision * image_recall, image_precision + image_recall
            ),
            "instance_acc": _ratio(found.sum(1), (predicted | present).sum(1)).mean(),
            "instance_prec": image_precision,
            "instance_recall": image_recall,
        }
        return {name: float(value) for name, value in values.items()}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, np.where(whole == 0, 1, whole))
