"""What an evaluation says beyond its metrics: classes, confusions, calibration, single images."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from PIL import Image

from ppcls.data.dataset.base import FileDataset
from ppcls.engine.confusion_picture import draw_confusion_matrix
from ppcls.engine.environment import Environment
from ppcls.errors import ConfigError
from ppcls.inference.contact_sheet import Tile, draw_contact_sheet
from ppcls.loss.base import main_logits
from ppcls.utils import atomic
from ppcls.utils.logger import logger

#: Confidence intervals over which the calibration error is taken.
CALIBRATION_BINS = 15
REPORT, MATRIX, MATRIX_PICTURE, PREDICTIONS, SLOWEST, MOST_WRONG = (
    "eval_report.json",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "predictions.csv",
    "slowest_images.csv",
    "most_wrong.png",
)
#: Images of the lists of the most wrong and the slowest ones.
LISTED_IMAGES = 32


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
    seconds: Optional[np.ndarray] = None,
) -> "dict[str, Any]":
    """Writes the report of an evaluation and returns what is in `eval_report.json`.

    Files: `eval_report.json` (metrics, calibration, classes, the most wrong and the slowest
    images), `confusion_matrix.csv` and, where Matplotlib is installed, `.png`, `predictions.csv`
    (every image, the most wrong ones first), `most_wrong.png` where images are files of their own,
    and `slowest_images.csv`.

    Args:
        folder: made if it is not there.
        results: the metrics by name.
        dataset: gives `path(index)`.
        label_names: names of classes, as far as known.
        seconds: (N,), what each image of the dataset took to read, decode and preprocess; 0 if it
            was not loaded.
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
        "most_wrong": most_wrong(predictions, dataset, names),
        "slowest": [] if seconds is None else slowest_images(seconds, dataset),
    }
    atomic.write_text(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    _write_matrix(folder / MATRIX, matrix, names)
    _write_rows(folder / PREDICTIONS, _prediction_rows(predictions, dataset, names))
    if report["slowest"]:
        _write_rows(folder / SLOWEST, report["slowest"])
    if report["most_wrong"] and isinstance(dataset, FileDataset):
        tiles = [
            Tile(x["file"], x["predicted"], x["score"], x["label"]) for x in report["most_wrong"]
        ]
        draw_contact_sheet(tiles, folder / MOST_WRONG)
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


def most_wrong(
    predictions: Predictions, dataset: Any, names: "list[str]", count: int = LISTED_IMAGES
) -> "list[dict[str, Any]]":
    """The wrongly predicted images whose own class was the least probable, as in the CSV file."""
    wrong = predictions.predicted != predictions.labels
    kept = Predictions(*(values[wrong] for values in predictions))
    rows = _prediction_rows(kept, dataset, names)
    return [row for row, _ in zip(rows, range(count))]


def _prediction_rows(
    predictions: Predictions, dataset: Any, names: "list[str]"
) -> "Iterator[dict[str, Any]]":
    """A row for each image, the least probable label first."""
    for place in np.argsort(predictions.label_scores, kind="stable").tolist():
        yield {
            "file": dataset.path(int(predictions.indices[place])),
            "label": names[predictions.labels[place]],
            "predicted": names[predictions.predicted[place]],
            "score": round(float(predictions.scores[place]), 6),
            "label_score": round(float(predictions.label_scores[place]), 6),
        }


def slowest_images(
    seconds: np.ndarray, dataset: Any, count: int = LISTED_IMAGES
) -> "list[dict[str, Any]]":
    """The images that took longest to load, with their sizes.

    Args:
        seconds: (N,), 0 for images that were not loaded.
        dataset: gives `path(index)` and `read(index)`.
    """
    order = np.argsort(-seconds, kind="stable")[:count]
    return [
        {
            "file": dataset.path(int(index)),
            "milliseconds": round(float(seconds[index]) * 1000, 3),
            **_size(dataset.read(int(index))),
        }
        for index in order
        if seconds[index] > 0
    ]


def _size(image: "Union[bytes, np.ndarray]") -> "dict[str, int]":
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
        return {"width": width, "height": height, "bytes": image.nbytes}
    with Image.open(io.BytesIO(image)) as file:
        width, height = file.size
    return {"width": width, "height": height, "bytes": len(image)}


def _write_rows(path: Path, rows: "Iterable[dict[str, Any]]") -> None:
    """A CSV file; the keys of the first row are its columns."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
            writer.writerow(row)
