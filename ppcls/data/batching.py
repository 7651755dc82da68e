"""From keys to the arrays of a batch."""

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import numpy as np

from ppcls.data.randomness import SampleKey, batch_generator
from ppcls.errors import DataError, UserError

#: `allocate(shape, dtype)` gives an array of any contents, as `numpy.empty`.
Allocate = Callable[["tuple[int, ...]", np.dtype], np.ndarray]


class SkippedImage(NamedTuple):
    """An image left out of its batch, and why."""

    path: str
    reason: str


class BatchMaker:
    """Makes the arrays of a batch: samples, stacked, through the batch operators.

    Args:
        dataset: gives samples by key; see `ppcls.data.dataset`.
        operators: batch operators, see `ppcls.data.batch_transform`.
        seed: of everything random.
    """

    def __init__(self, dataset: Any, operators: Sequence[Any], seed: int):
        self.dataset = dataset
        self.operators = list(operators)
        self.seed = seed

    def __call__(
        self, keys: "list[SampleKey]", allocate: Allocate = np.empty
    ) -> "tuple[list[np.ndarray], list[SkippedImage]]":
        """[images (B, C, H, W), labels, indices (B,)] and the skipped images.

        Labels are (B,) int64, or float32 rows (B, class_num) of a multi-label dataset or after an
        operator that mixes.

        Args:
            keys: of the samples.
            allocate: gives the memory that the images are written into, one by one.

        Raises:
            DataError: an image cannot be used and the dataset does not skip, no image of the
                batch can, or they differ in shape.
        """
        images, indices, labels = None, [], []
        skipped: list[SkippedImage] = []
        for key in keys:
            try:
                sample = self._sample(key)
            except DataError as error:
                if self.dataset.on_error == "raise":
                    raise
                skipped.append(SkippedImage(self.dataset.path(key.index), str(error)))
                continue
            if images is None:
                images = allocate((len(keys), *sample.image.shape), sample.image.dtype)
            elif sample.image.shape != images.shape[1:]:
                raise self._shape_error(indices[0], images.shape[1:], sample)
            images[len(indices)] = sample.image
            indices.append(key.index)
            labels.append(sample.label)
        if images is None:
            raise DataError(f"no image of a batch can be used; the first: {skipped[0].reason}")
        images, labels = images[: len(indices)], _stack_labels(labels)
        for operator in self.operators:
            images, labels = operator(images, labels, batch_generator(self.seed, keys[0]))
        return [images, labels, np.array(indices, dtype=np.int64)], skipped

    def _sample(self, key: SampleKey) -> Any:
        try:
            return self.dataset[key]
        except UserError:
            raise
        except MemoryError as error:
            path = self.dataset.path(key.index)
            raise DataError(
                f"{path}: memory ran out; use fewer workers (num_workers of the loader section) or "
                f"make the image smaller ({error})"
            ) from error
        except Exception as error:  # An operator's surprise: say which file did it.
            path = self.dataset.path(key.index)
            raise DataError(f"{path}: {type(error).__name__}: {error}") from error

    def _shape_error(self, index: int, shape: "tuple[int, ...]", sample: Any) -> DataError:
        return DataError(
            f"the images of a batch differ in shape: {self.dataset.path(index)} gives {shape}, "
            f"{self.dataset.path(sample.key.index)} gives {sample.image.shape}; "
            "transform_ops must give one size (ResizeImage, CropImage, RandCropImage)"
        )


def _stack_labels(labels: "list[Any]") -> np.ndarray:
    """Class ids to (B,) int64; rows of a multi-label dataset to (B, class_num) float32."""
    return np.array(labels, dtype=np.int64 if np.ndim(labels[0]) == 0 else np.float32)
