"""Faults of labels: out of range, classes without images, balance."""

from typing import Any, Callable, Optional

import numpy as np

from ppcls.data.inspection.findings import Finding, first_examples

#: The largest class may have this many times the images of the smallest without a warning.
_BALANCED = 10


def class_counts(labels: np.ndarray, class_num: int) -> np.ndarray:
    """(class_num,) number of samples of each class; labels out of range do not count.

    Args:
        labels: (N,) int, or (N, C) where 1 means that a class is present.
    """
    if labels.ndim == 2:
        counts = np.zeros(class_num, np.int64)
        width = min(class_num, labels.shape[1])
        counts[:width] = np.count_nonzero(labels[:, :width] == 1, axis=0)
        return counts
    return np.bincount(labels[(labels >= 0) & (labels < class_num)], minlength=class_num)


def out_of_range(split: str, dataset: Any, class_num: int) -> Optional[Finding]:
    """Labels that a model of `class_num` classes cannot have."""
    labels = dataset.labels
    if labels.ndim == 2:
        if labels.shape[1] == class_num or not len(labels):
            return None
        message = f"labels have {labels.shape[1]} values, but the model has {class_num} classes"
        return Finding("error", "label_out_of_range", split, len(labels), message)
    outside = np.flatnonzero((labels < 0) | (labels >= class_num))
    if not len(outside):
        return None
    return Finding(
        "error",
        "label_out_of_range",
        split,
        len(outside),
        f"labels outside 0..{class_num - 1}: {len(outside)} of {len(labels)} "
        f"(Arch.class_num is {class_num})",
        first_examples(f"{dataset.path(i)}: label {labels[i]}" for i in outside),
    )


def empty_classes(
    split: str, counts: np.ndarray, name: "Callable[[int], str]"
) -> Optional[Finding]:
    """Classes of the model that no image has."""
    empty = np.flatnonzero(counts == 0)
    if not len(empty) or not counts.any():
        return None
    return Finding(
        "warning",
        "empty_class",
        split,
        len(empty),
        f"classes without images: {len(empty)} of {len(counts)} ({ranges(empty)})",
        first_examples(name(class_id) for class_id in empty),
    )


def imbalance(split: str, counts: np.ndarray, name: "Callable[[int], str]") -> Optional[Finding]:
    """One class that far outnumbers another."""
    occurring = np.flatnonzero(counts)
    if len(occurring) < 2:
        return None
    smallest = occurring[counts[occurring].argmin()]
    largest = counts.argmax()
    if counts[largest] <= _BALANCED * counts[smallest]:
        return None
    return Finding(
        "warning",
        "imbalance",
        split,
        len(occurring),
        f"{name(largest)} has {counts[largest]} images, {counts[largest] / counts[smallest]:.0f} "
        f"times those of {name(smallest)} ({counts[smallest]}); class weights in the loss or "
        "sampling by class may help",
    )


def balance(counts: np.ndarray, name: "Callable[[int], str]") -> "dict[str, Any]":
    """Smallest, largest and median class of those that occur."""
    occurring = np.flatnonzero(counts)
    if not len(occurring):
        return {}
    smallest, largest = occurring[counts[occurring].argmin()], counts.argmax()
    return {
        "min": int(counts[smallest]),
        "smallest": name(smallest),
        "max": int(counts[largest]),
        "largest": name(largest),
        "median": float(np.median(counts[occurring])),
    }


def ranges(numbers: np.ndarray) -> str:
    """`[1, 2, 3, 7]` as `1..3, 7`; the first twenty of them."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    texts = [f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:20]]
    return ", ".join(texts) + (", ..." if len(runs) > 20 else "")
