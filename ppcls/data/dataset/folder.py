"""A folder of images per class, without a list."""

from typing import Optional

import numpy as np

from ppcls.config.types import Probability
from ppcls.data.dataset.base import BatchTransforms, FileDataset, OnError, Transforms
from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import class_count_problems
from ppcls.data.image_files import class_folders, images_under
from ppcls.registry import DATASETS


@DATASETS.register()
class FolderDataset(FileDataset):
    """A folder per class: `image_root/<class>/.../<image>`.

    Classes are numbered in the order of their sorted names (`self.class_names`). Training and
    validation number alike if they have the same folders; where they may not, give `classes`.

    Args:
        image_root: the folder that holds the folders of the classes.
        transform_ops: see `ImageDataset`, like those below.
        classes: the names of the classes in the order of their numbers. A class without a folder
            then has no images; a folder that is not among them is an error.
    """

    def __init__(
        self,
        image_root: str,
        transform_ops: Transforms = None,
        classes: Optional[list[str]] = None,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        self.faults: list[str] = []
        try:
            folders = class_folders(image_root)
        except OSError as error:
            folders = []
            self.faults.append(f"image_root {image_root}: cannot be read: {error.strerror}")
        self.class_names = list(classes or folders)
        names, labels = self._find(image_root, folders, may_be_empty=classes is not None)
        super().__init__(
            image_root,
            PackedNames.of(names),
            np.array(labels, dtype=np.int64),
            transform_ops,
            on_error,
            max_error_ratio,
            batch_transform_ops,
            seed,
        )
        if not len(self) and not self.faults:
            self.faults.append(f"image_root {image_root}: no images in folders of classes")

    def problems(self, class_num: int) -> "list[str]":
        return self.faults or class_count_problems(
            f"image_root {self.image_root}", self.class_names, class_num
        )

    def _find(
        self, root: str, folders: "list[str]", may_be_empty: bool
    ) -> "tuple[list[bytes], list[int]]":
        numbers = {name: number for number, name in enumerate(self.class_names)}
        names, labels = [], []
        for folder in folders:
            if folder not in numbers:
                self.faults.append(f"{root}/{folder}: this folder is not one of `classes`")
                continue
            try:
                found = images_under(root, folder)
            except OSError as error:
                self.faults.append(f"{error.filename}: cannot be read: {error.strerror}")
                continue
            if not found and not may_be_empty:
                self.faults.append(f"{root}/{folder}: no images in the folder of this class")
            names += found
            labels += [numbers[folder]] * len(found)
        return names, labels
