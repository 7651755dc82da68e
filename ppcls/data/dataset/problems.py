"""How datasets say what is wrong with them: a sentence each, and a count when there are many."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_SHOWN = 10


def list_first(items: Sequence[Any], describe: Callable[[Any], str], what: str) -> "list[str]":
    """What `describe` says of the first items, and how many of `what` they are if many."""
    messages = [describe(item) for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        messages.append(f"... and {len(items) - _SHOWN} more like these ({what})")
    return messages


def labels_outside(labels: np.ndarray, class_num: int, name: "Callable[[int], str]") -> "list[str]":
    """A sentence for each sample whose label is not in 0..class_num-1.

    Args:
        labels: (N,) int.
        class_num: number of outputs of the model.
        name: what a sample is called.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= class_num))

    def describe(index: int) -> str:
        return (
            f"{name(index)}: label {labels[index]} is outside 0..{class_num - 1} "
            f"(Arch.class_num is {class_num})"
        )

    return list_first(outside, describe, f"{len(outside)} of {len(labels)} labels")


def class_count_problems(what: str, class_names: Sequence[str], class_num: int) -> "list[str]":
    """A sentence if data that name their classes have not as many as the model."""
    if len(class_names) == class_num:
        return []
    shown = ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
    return [
        f"{what} has {len(class_names)} classes ({shown}), but Arch.class_num is {class_num}; "
        "correct it, or give `classes`, the names of all classes in order"
    ]
