"""What can be known to fail before the first step is reported before it, all at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppcls.errors import DataError


def check_before_training(
    datasets: "Mapping[str, Any]", class_num: int, output_dir: "str | os.PathLike[str]"
) -> None:
    """Checks the datasets (see `check_datasets`) and that the output folder can be written.

    Raises:
        DataError: lists every problem found.
    """
    _refuse(_dataset_problems(datasets, class_num) + output_problems(Path(output_dir)))


def check_datasets(datasets: "Mapping[str, Any]", class_num: int) -> None:
    """Checks list files, labels and that the image files exist.

    Args:
        datasets: datasets by the YAML path that named them, e.g. "DataLoader.Train.dataset".
        class_num: number of outputs of the model; labels must lie in 0..class_num-1.

    Raises:
        DataError: lists every problem found.
    """
    _refuse(_dataset_problems(datasets, class_num))


def _refuse(problems: "list[str]") -> None:
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(f"the run cannot start:\n{listed}")


def _dataset_problems(datasets: "Mapping[str, Any]", class_num: int) -> "list[str]":
    return [
        f"{path}: {problem}"
        for path, dataset in datasets.items()
        for problem in dataset.problems(class_num)
    ]


def output_problems(folder: Path) -> "list[str]":
    """Makes the output folder; says what is wrong with it, in a sentence, if something is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"Global.output_dir: {folder} cannot be made: {error.strerror}"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"Global.output_dir: {folder} is not writable"]
    return []
