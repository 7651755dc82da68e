"""What all datasets have in common."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import numpy as np

from ppcls.config.types import ComponentList, Probability
from ppcls.data.dataset.names import PackedNames
from ppcls.data.randomness import SampleKey, sample_generator
from ppcls.data.transform.pipeline import Pipeline, build_transforms, complete_transforms
from ppcls.errors import DataError

OnError = Literal["raise", "skip"]
Transforms = Optional[ComponentList("transform")]
BatchTransforms = Optional[ComponentList("batch transform")]


class Sample(NamedTuple):
    """image: what the transforms gave, (C, H, W); label: int, or a float32 row (class_num,) of a
    multi-label dataset; key: what was asked for."""

    image: np.ndarray
    label: Union[int, np.ndarray]
    key: SampleKey


class ImageDataset:
    """Images with labels, by number.

    A child sets `labels` and says what a sample is called (`path`), how it is read (`read`) and
    what is wrong with the whole (`problems`).

    Args:
        transform_ops: operators that make the model's input of an image; `DecodeImage` in front
            and `ToCHWImage` at the end may be left out.
        on_error: what becomes of an image that cannot be read: stop, or leave it out of its
            batch (it is never replaced by another).
        max_error_ratio: with `skip`, the part of the dataset that may be unreadable before the
            run stops (one image always may).
        batch_transform_ops: operators on batches; PaddleClas files put them here or beside the
            dataset.
        seed: of everything random.
    """

    #: (N,) int64, or (N, class_num) int8 of a multi-label dataset: 1, 0, or -1 for unknown.
    labels: np.ndarray
    #: Names of the classes, if the data carry them.
    class_names: "Optional[list[str]]" = None

    def __init__(
        self,
        transform_ops: Transforms = None,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        self.transform = build_transforms(complete_transforms(transform_ops or []))
        self.on_error = on_error
        self.max_error_ratio = max_error_ratio
        self.batch_transform_ops: Sequence[Any] = batch_transform_ops or ()
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """What errors call a sample: its file, and where in it."""
        raise NotImplementedError

    def read(self, index: int) -> Union[bytes, np.ndarray]:
        """A sample before the transforms: the bytes of an image file, or RGB (H, W, 3) uint8.

        Raises:
            OSError, DataError: it cannot be read; the message does not name it.
        """
        raise NotImplementedError

    def problems(self, class_num: int) -> "list[str]":
        """What is wrong with the dataset, as far as can be told without decoding: each a sentence.

        Looks for unreadable or empty lists, malformed lines, labels that do not fit a model of
        `class_num` classes, and missing files.
        """
        raise NotImplementedError

    def label(self, index: int) -> Union[int, np.ndarray]:
        """The label of a sample as a batch wants it: int, or float32 (class_num,)."""
        label = self.labels[index]
        return int(label) if label.ndim == 0 else label.astype(np.float32)

    def __getitem__(self, key: Union[SampleKey, int]) -> Sample:
        """The sample of a key; an integer means its first draw in epoch 0.

        Raises:
            DataError: the image cannot be read; names the file.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(0, int(key))
        try:
            image = self.pipeline(key)(self.read(key.index), sample_generator(self.seed, key))
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{self.path(key.index)}: cannot be read: {reason}") from error
        except DataError as error:
            raise DataError(f"{self.path(key.index)}: {error}") from error
        return Sample(image, self.label(key.index), key)

    def pipeline(self, key: SampleKey) -> Pipeline:
        """The transforms of a sample."""
        return self.transform.at_epoch(key.epoch)


class FileDataset(ImageDataset):
    """Images in files of their own.

    Args:
        image_root: folder that `names` are relative to.
        names: paths.
        labels: see `ImageDataset`.
        common: see `ImageDataset`.
    """

    def __init__(
        self, image_root: str, names: PackedNames, labels: np.ndarray, *common: Any
    ) -> None:
        super().__init__(*common)
        self.image_root = Path(image_root)
        self._folder = os.fspath(self.image_root)
        self.names = names
        self.labels = labels

    def path(self, index: int) -> str:
        return os.path.join(self._folder, self.names[index])

    def read(self, index: int) -> bytes:
        with open(self.path(index), "rb") as file:
            return file.read()
