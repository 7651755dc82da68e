"""What an evaluation says beyond its metrics: classes, confusions, calibration, single images."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import paddle
import paddle.nn.functional as F

from ppcls.engine.confusion_picture import draw_confusion_matrix
from ppcls.engine.environment import Environment
from ppcls.errors import ConfigError
from ppcls.loss.base import main_logits
from ppcls.utils import atomic
from ppcls.utils.logger import logger

#: Confidence intervals over which the calibration error is taken.
CALIBRATION_BINS = 15
REPORT, MATRIX, MATRIX_PICTURE, PREDICTIONS = (
    "eval_report.json",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "predictions.csv",
)


class Predictions(NamedTuple):
    """One entry per evaluated image, (N,): place in the dataset, class, predicted class, and the
    probabilities of both."""

    indices: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    label_scores: np.ndarray


class PredictionRecorder:
    """Keeps what a model predicted for each image of a single-label dataset.

    Args:
        length: images of the dataset.
    """

    def __init__(self, length: int):
        # Zero means not seen, so that the records of several processes add up.
        self._labels = np.zeros(length, dtype=np.int64)
        self._predicted = np.zeros(length, dtype=np.int64)
        self._scores = np.zeros((2, length), dtype=np.float32)

    def add(self, outputs: Any, labels: paddle.Tensor, indices: paddle.Tensor) -> None:
        """Adds a batch: what the model returned, labels (B,), indices (B,) into the dataset.

        Raises:
            ConfigError: images have several labels.
        """
        if labels.ndim != 1:
            raise ConfigError(
                "the report of an evaluation needs one label per image; this dataset has several"
            )
        probabilities = F.softmax(main_logits(outputs), axis=1).numpy()
        labels, indices = labels.numpy(), indices.numpy()
        rows = np.arange(len(labels))
        predicted = probabilities.argmax(axis=1)
        self._labels[indices] = labels + 1
        self._predicted[indices] = predicted + 1
        self._scores[:, indices] = probabilities[rows, predicted], probabilities[rows, labels]

    def collect(self, environment: Environment) -> Predictions:
        """The predictions of all processes; every process calls it."""
        labels, predicted, scores = (
            environment.sum(paddle.to_tensor(part)).numpy()
            for part in (self._labels, self._predicted, self._scores)
        )
        indices = np.flatnonzero(labels)
        return Predictions(
            indices, labels[indices] - 1, predicted[indices] - 1, *scores[:, indices]
        )


def confusion_matrix(predictions: Predictions, class_num: int) -> np.ndarray:
    """(class_num, class_num) int64: images of class i (row) predicted as class j (column)."""
    flat = predictions.labels * class_num + predictions.predicted
    return np.bincount(flat, minlength=class_num**2).reshape(class_num, class_num)


def calibration_error(predictions: Predictions, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error, in [0, 1].

    The mean over images of |accuracy - confidence| of their bin, bins of equal width over the
    probability of the predicted class (Guo et al. 2017, arXiv:1706.04599, equation 3).
    """
    places = np.minimum((predictions.scores * bins).astype(int), bins - 1)
    right = predictions.labels == predictions.predicted
    gaps = np.bincount(places, right - predictions.scores.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / max(len(places), 1))


def write_report(
    folder: Path,
    results: "dict[str, float]",
    predictions: Predictions,
    dataset: Any,
    class_num: int,
    label_names: "Optional[Mapping[int, str]]" = None,
) -> "dict[str, Any]":
    """Writes the report of an evaluation and returns what is in `eval_report.json`.

    Files: `eval_report.json` (metrics, calibration, classes), `confusion_matrix.csv` and, where
    Matplotlib is installed, `.png`, `predictions.csv` (every image, the most wrong ones first).

    Args:
        folder: made if it is not there.
        results: the metrics by name.
        dataset: gives `path(index)`.
        label_names: names of classes, as far as known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [(label_names or {}).get(number, str(number)) for number in range(class_num)]
    matrix = confusion_matrix(predictions, class_num)
    report = {
        "images": len(predictions.indices),
        "metrics": results,
        "expected_calibration_error": calibration_error(predictions),
        "mean_confidence": float(predictions.scores.mean()) if len(predictions.scores) else None,
        "classes": _class_rows(matrix, names),
    }
    atomic.write_text(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    _write_matrix(folder / MATRIX, matrix, names)
    _write_predictions(folder / PREDICTIONS, predictions, dataset, names)
    try:
        draw_confusion_matrix(matrix, names, folder / MATRIX_PICTURE)
    except ConfigError as error:
        logger.warning(f"{folder / MATRIX_PICTURE} is not drawn: {error}")
    return report


def _class_rows(matrix: np.ndarray, names: "list[str]") -> "list[dict[str, Any]]":
    right, images, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        {
            "id": number,
            "name": name,
            "images": int(images[number]),
            "accuracy": _ratio(right[number], images[number]),
            "precision": _ratio(right[number], predicted[number]),
        }
        for number, name in enumerate(names)
    ]


def _ratio(part: int, whole: int) -> Optional[float]:
    """None where there is nothing to divide: no image of a class, or none predicted."""
    return float(part / whole) if whole else None


def _write_matrix(path: Path, matrix: np.ndarray, names: "list[str]") -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label \\ predicted", *names])
        writer.writerows([name, *row] for name, row in zip(names, matrix.tolist()))


def _write_predictions(
    path: Path, predictions: Predictions, dataset: Any, names: "list[str]"
) -> None:
    order = np.argsort(predictions.label_scores, kind="stable")
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "predicted", "score", "label_score"])
        for place in order.tolist():
            writer.writerow(
                [
                    dataset.path(int(predictions.indices[place])),
                    names[predictions.labels[place]],
                    names[predictions.predicted[place]],
                    f"{predictions.scores[place]:.6f}",
                    f"{predictions.label_scores[place]:.6f}",
                ]
            )
