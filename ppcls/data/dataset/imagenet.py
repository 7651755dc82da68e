"""Images listed in a file, one label each."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import numpy as np

from ppcls.config.types import ComponentList, Probability
from ppcls.data.dataset.label_list import LabelList, list_first
from ppcls.data.randomness import SampleKey, sample_generator
from ppcls.data.transform import build_transforms
from ppcls.errors import DataError
from ppcls.registry import DATASETS


class Sample(NamedTuple):
    """image: what the transforms gave; label: int; key: what was asked for."""

    image: np.ndarray
    label: int
    key: SampleKey


@DATASETS.register()
class ImageNetDataset:
    """Images of a list file `path<delimiter>label`.

    Args:
        image_root: folder that the paths of the list are relative to.
        cls_label_path: the list file.
        transform_ops: operators that make the model's input of an image.
        delimiter: between path and label; None is white space.
        on_error: what becomes of an image that cannot be read: stop, or leave it out of its
            batch (it is never replaced by another).
        max_error_ratio: with `skip`, the part of the dataset that may be unreadable before the
            run stops (one image always may).
        batch_transform_ops: operators on batches; PaddleClas files put them here or beside the
            dataset.
        seed: of everything random.
    """

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: Optional[ComponentList("transform")] = None,
        delimiter: Optional[str] = None,
        on_error: Literal["raise", "skip"] = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: Optional[ComponentList("batch transform")] = None,
        seed: int = 0,
    ):
        self.image_root = Path(image_root)
        self.list = LabelList(cls_label_path, delimiter)
        self.transform = build_transforms(transform_ops or [])
        self.on_error = on_error
        self.max_error_ratio = max_error_ratio
        self.batch_transform_ops: Sequence[Any] = batch_transform_ops or ()
        self.seed = seed

    def __len__(self) -> int:
        return len(self.list)

    def path(self, index: int) -> str:
        """The file of a sample."""
        return os.path.join(self.image_root, self.list.name(index))

    def problems(self, class_num: int) -> "list[str]":
        """What is wrong with the dataset, as far as can be told without decoding: each a sentence.

        Looks for an unreadable or empty list, malformed lines, labels outside 0..class_num-1, a
        missing folder and missing files.
        """
        return [
            *self.list.faults,
            *self.list.label_problems(class_num),
            *self._missing_files(),
        ]

    def _missing_files(self) -> "list[str]":
        if not self.image_root.is_dir():
            return [f"image_root {self.image_root} is not a folder"]
        missing = [path for path in map(self.path, range(len(self))) if not os.path.isfile(path)]
        return list_first(
            missing,
            lambda path: f"{path}: no such image file",
            f"{len(missing)} of {len(self)} images",
        )

    def __getitem__(self, key: Union[SampleKey, int]) -> Sample:
        """The sample of a key; an integer means its first draw in epoch 0.

        Raises:
            DataError: the image cannot be read; names the file.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(0, int(key))
        path = self.path(key.index)
        try:
            with open(path, "rb") as file:
                data = file.read()
            image = self.transform(data, sample_generator(self.seed, key))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        return Sample(image, int(self.list.labels[key.index]), key)
