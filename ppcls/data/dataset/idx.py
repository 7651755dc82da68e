"""Datasets in IDX files: MNIST, Fashion-MNIST, KMNIST, EMNIST.

The format (http://yann.lecun.com/exdb/mnist): two zero bytes, the type of the values (8: unsigned
byte), the number of dimensions, each dimension as a big-endian 32-bit integer, then the values.
"""

import gzip
import zlib
from pathlib import Path
from typing import Optional

import numpy as np

from ppcls.config.types import PositiveInt, Probability
from ppcls.data.dataset.base import BatchTransforms, ImageDataset, OnError, Transforms
from ppcls.data.dataset.problems import labels_outside
from ppcls.errors import DataError
from ppcls.registry import DATASETS

_GZIP_SIGNATURE = b"\x1f\x8b"
_UNSIGNED_BYTE = 8


@DATASETS.register()
class IdxDataset(ImageDataset):
    """Images and labels of two IDX files, plain or compressed with gzip.

    Grey images become RGB (H, W, 3), so that the same transforms fit; `DecodeImage` lets them
    pass. An image is called `<file>[<index>]`.

    Args:
        images: file of the images, e.g. `train-images-idx3-ubyte.gz`: (N, H, W), or (N, H, W, 3).
        labels: file of the labels, e.g. `train-labels-idx1-ubyte.gz`: (N,).
        transform_ops: see `ImageDataset`, like those below.
        max_samples: use the first ones only.
    """

    def __init__(
        self,
        images: str,
        labels: str,
        transform_ops: Transforms = None,
        max_samples: Optional[PositiveInt] = None,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        super().__init__(transform_ops, on_error, max_error_ratio, batch_transform_ops, seed)
        self.images_path, self.labels_path = images, labels
        self.faults: list[str] = []
        self.images = np.zeros((0, 0, 0), dtype=np.uint8)
        self.labels = np.zeros(0, dtype=np.int64)
        try:
            self._load(max_samples)
        except DataError as error:
            self.faults.append(str(error))

    def path(self, index: int) -> str:
        return f"{self.images_path}[{index}]"

    def read(self, index: int) -> np.ndarray:
        image = self.images[index]
        return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)

    def problems(self, class_num: int) -> "list[str]":
        def name(index: int) -> str:
            return f"{self.labels_path}[{index}]"

        return [*self.faults, *labels_outside(self.labels, class_num, name)]

    def _load(self, max_samples: Optional[int]) -> None:
        images, labels = read_idx(self.images_path), read_idx(self.labels_path)
        if images.ndim != 3 and (images.ndim != 4 or images.shape[3] != 3):
            raise DataError(
                f"{self.images_path}: expected images (N, H, W) or (N, H, W, 3), "
                f"found an array of shape {images.shape}"
            )
        if labels.ndim != 1:
            raise DataError(
                f"{self.labels_path}: expected labels (N,), found an array of shape {labels.shape}"
            )
        if len(images) != len(labels):
            raise DataError(
                f"{self.images_path} has {len(images)} images, but {self.labels_path} has "
                f"{len(labels)} labels"
            )
        if not len(images):
            raise DataError(f"{self.images_path}: the file holds no images")
        self.images = images[:max_samples]
        self.labels = labels[:max_samples].astype(np.int64)


def read_idx(path: str) -> np.ndarray:
    """The array of an IDX file of unsigned bytes, plain or gzip.

    Raises:
        DataError: the file cannot be read, is no such file, or is shorter or longer than its
            header says; names it.
    """
    content = _read(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path}: not an IDX file of bytes: it must begin with 00 00 08, "
            f"it begins with {content[:3].hex(' ') or 'nothing'}"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"{path}: the file is truncated within its header")
    shape = np.frombuffer(content, dtype=">u4", count=content[3], offset=4).tolist()
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise DataError(
            f"{path}: the file is {state}: {'x'.join(map(str, shape))} values need {expected} "
            f"bytes, it has {len(content)}; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(_GZIP_SIGNATURE):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is broken: {error}; download it again") from error
