"""Images listed in a file, one label each."""

import os
import time
from typing import Any, Optional, Protocol

import numpy as np

from ppcls.config.types import Probability
from ppcls.data.dataset.base import (
    BatchTransforms,
    FileDataset,
    OnError,
    Transforms,
)
from ppcls.data.dataset.label_list import LabelList
from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import list_first
from ppcls.registry import DATASETS
from ppcls.utils.logger import logger

_SECONDS_FOR_FILES = 30
_SWEEPS = 64


class ImageList(Protocol):
    """Paths and labels that a file lists, and what is wrong with it."""

    names: PackedNames
    labels: np.ndarray
    faults: "list[str]"

    def label_problems(self, class_num: int) -> "list[str]":
        """Labels that do not fit a model of `class_num` classes, a sentence each."""


class ListedDataset(FileDataset):
    """Images of a list file.

    Args:
        image_root: folder that the paths of the list are relative to.
        image_list: paths and labels.
        common: see `ImageDataset`.
    """

    def __init__(self, image_root: str, image_list: ImageList, *common: Any) -> None:
        super().__init__(image_root, image_list.names, image_list.labels, *common)
        self.list = image_list

    def problems(self, class_num: int) -> "list[str]":
        return [
            *self.list.faults,
            *self.list.label_problems(class_num),
            *self._missing_files(),
        ]

    def _missing_files(self) -> "list[str]":
        if not self.image_root.is_dir():
            return [f"image_root {self.image_root} is not a folder"]
        missing, checked = self._look_for_files()
        return list_first(
            missing,
            lambda index: f"{self.path(index)}: no such image file",
            f"{len(missing)} of {checked} images",
        )

    def _look_for_files(self) -> "tuple[list[int], int]":
        """The samples without a file, and how many were looked at.

        All of them, if `_SECONDS_FOR_FILES` suffice (they do for a million files of a local disk);
        otherwise as many as they allow, from all over the list.
        """
        missing, checked = [], 0
        deadline = time.monotonic() + _SECONDS_FOR_FILES
        for first in range(_SWEEPS):
            for place, name in enumerate(self.names.every(_SWEEPS, first)):
                if not os.path.isfile(os.path.join(self._folder, name)):
                    missing.append(first + place * _SWEEPS)
                checked += 1
                if checked % 256 == 0 and time.monotonic() > deadline:
                    logger.warning(
                        f"{self.list.path}: looked for {checked} of {len(self)} image files in "
                        f"{_SECONDS_FOR_FILES} s, not for the others; tools/check_dataset.py "
                        "looks at all"
                    )
                    return sorted(missing), checked
        return sorted(missing), checked


@DATASETS.register()
class ImageNetDataset(ListedDataset):
    """Images of a list file `path<delimiter>label`.

    Args:
        image_root: folder that the paths of the list are relative to.
        cls_label_path: the list file.
        transform_ops: see `ImageDataset`, like those below.
        delimiter: between path and label; None is white space.
        relabel: number the labels that occur from 0 on, in their order (for lists whose labels
            have gaps; training and validation must have the same ones).
    """

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: Transforms = None,
        delimiter: Optional[str] = None,
        relabel: bool = False,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        image_list = LabelList(cls_label_path, delimiter)
        if relabel:
            image_list.renumber()
        super().__init__(
            image_root,
            image_list,
            transform_ops,
            on_error,
            max_error_ratio,
            batch_transform_ops,
            seed,
        )


@DATASETS.register()
class ClsDataset(ImageNetDataset):
    """`ImageNetDataset` under the other name that PaddleClas files use.

    Args:
        label_ratio: count how often each class occurs: `self.label_ratio`, (classes,) float32, the
            part of the samples that each class has. Samples do not change.
    """

    label_ratio: Optional[np.ndarray] = None

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: Transforms = None,
        delimiter: Optional[str] = None,
        relabel: bool = False,
        label_ratio: bool = False,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        super().__init__(
            image_root,
            cls_label_path,
            transform_ops,
            delimiter,
            relabel,
            on_error,
            max_error_ratio,
            batch_transform_ops,
            seed,
        )
        if label_ratio and len(self):
            counts = np.bincount(self.labels[self.labels >= 0])
            self.label_ratio = (counts / len(self)).astype(np.float32)
