"""From keys to the arrays of a batch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ppcls.data.randomness import SampleKey, batch_generator
from ppcls.errors import DataError, UserError


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

    def __call__(self, keys: "list[SampleKey]") -> "tuple[list[np.ndarray], list[SkippedImage]]":
        """[images (B, C, H, W), labels, indices (B,)] and the skipped images.

        Labels are (B,) int64, or float32 rows (B, class_num) of a multi-label dataset or after an
        operator that mixes.

        Raises:
            DataError: an image cannot be used and the dataset does not skip, no image of the
                batch can, or they differ in shape.
        """
        samples, skipped = [], []
        for key in keys:
            try:
                samples.append(self._sample(key))
            except DataError as error:
                if self.dataset.on_error == "raise":
                    raise
                skipped.append(SkippedImage(self.dataset.path(key.index), str(error)))
        if not samples:
            raise DataError(f"no image of a batch can be used; the first: {skipped[0].reason}")
        images = self._stack(samples)
        labels = _stack_labels([sample.label for sample in samples])
        for operator in self.operators:
            images, labels = operator(images, labels, batch_generator(self.seed, keys[0]))
        indices = np.array([sample.key.index for sample in samples], dtype=np.int64)
        return [images, labels, indices], skipped

    def _sample(self, key: SampleKey) -> Any:
        try:
            return self.dataset[key]
        except UserError:
            raise
        except Exception as error:  # An operator's surprise: say which file did it.
            path = self.dataset.path(key.index)
            raise DataError(f"{path}: {type(error).__name__}: {error}") from error

    def _stack(self, samples: "list[Any]") -> np.ndarray:
        first = samples[0]
        for sample in samples:
            if sample.image.shape != first.image.shape:
                one, other = (
                    f"{self.dataset.path(s.key.index)} gives {s.image.shape}"
                    for s in (first, sample)
                )
                raise DataError(
                    f"the images of a batch differ in shape: {one}, {other}; "
                    "transform_ops must give one size (ResizeImage, CropImage, RandCropImage)"
                )
        return np.stack([sample.image for sample in samples])


def _stack_labels(labels: "list[Any]") -> np.ndarray:
    """Class ids to (B,) int64; rows of a multi-label dataset to (B, class_num) float32."""
    return np.array(labels, dtype=np.int64 if np.ndim(labels[0]) == 0 else np.float32)
