"""Interpolation, in one place for all operators, and resizing."""

from typing import Literal, Optional, Union

import cv2
import numpy as np
from PIL import Image

from ppcls.config.types import PositiveInt, Probability
from ppcls.data.transform.decode import MAX_PIXELS
from ppcls.data.transform.resample import resize_as_pillow
from ppcls.errors import ConfigError, DataError
from ppcls.registry import TRANSFORMS

Interpolation = Literal[
    "nearest", "bilinear", "bicubic", "area", "box", "hamming", "lanczos", "random"
]
Backend = Literal["cv2", "pil"]
#: One number for both sides, or [width, height].
Size = Union[PositiveInt, tuple[PositiveInt, PositiveInt]]

_METHODS = {
    "cv2": {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    },
    "pil": {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
        "lanczos": Image.Resampling.LANCZOS,
    },
}
_RANDOM = ("bilinear", "bicubic")


def width_height(size: Size) -> "tuple[int, int]":
    """`size` as (width, height)."""
    if isinstance(size, int):
        return size, size
    width, height = size
    return width, height


class Resizer:
    """Resizes with one method of one library.

    Pillow filters over the whole area that an output pixel covers (antialiasing); OpenCV, apart
    from `area`, reads the neighbours of one point. `random` draws bilinear or bicubic each time.

    Args:
        interpolation: None is bilinear.
        backend: "cv2" or "pil".

    Raises:
        ConfigError: the library does not have the method.
    """

    def __init__(self, interpolation: Optional[Interpolation], backend: Backend):
        self.backend = backend.lower()
        self.interpolation = (interpolation or "bilinear").lower()
        if self.backend not in _METHODS:
            raise ConfigError(f"unknown backend '{backend}': use cv2 or pil")
        known = [*_METHODS[self.backend], "random"]
        if self.interpolation not in known:
            raise ConfigError(
                f"the backend {self.backend} has no interpolation '{interpolation}': "
                f"use one of {', '.join(known)}"
            )

    def __call__(
        self, image: np.ndarray, size: "tuple[int, int]", rng: np.random.Generator
    ) -> np.ndarray:
        """`image` (H, W, C) at the size (width, height)."""
        method = self.draw_method(rng)
        if self.backend == "cv2":
            return cv2.resize(image, size, interpolation=method)
        return resize_as_pillow(image, size, method)

    def draw_method(self, rng: np.random.Generator) -> int:
        """The library's constant of the interpolation."""
        name = self.interpolation
        if name == "random":
            name = _RANDOM[rng.integers(len(_RANDOM))]
        return _METHODS[self.backend][name]


@TRANSFORMS.register()
class ResizeImage:
    """Resizes to a size, or so that the shorter side has a length.

    Args:
        size: one number for both sides, or [width, height].
        resize_short: length of the shorter side; the other follows, rounded half to even. It
            wins over `size`.
        interpolation: None is bilinear.
        backend: library that resizes, see `Resizer`.
        return_numpy: accepted from PaddleClas; operators here always give arrays.
    """

    def __init__(
        self,
        size: Optional[Size] = None,
        resize_short: Optional[PositiveInt] = None,
        interpolation: Optional[Interpolation] = None,
        backend: Backend = "cv2",
        return_numpy: bool = True,
    ):
        if size is None and resize_short is None:
            raise ConfigError("ResizeImage needs `size` or `resize_short`")
        self.size = width_height(size) if resize_short is None else None
        self.resize_short = resize_short
        self.resize = Resizer(interpolation, backend)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.resize(image, self.new_size(image.shape[1], image.shape[0]), rng)

    def new_size(self, width: int, height: int) -> "tuple[int, int]":
        """(width, height) that an image of that size is resized to.

        Raises:
            DataError: a very long and narrow image would become too large.
        """
        if self.size:
            return self.size
        factor = float(self.resize_short) / min(width, height)
        size = round(width * factor), round(height * factor)
        if size[0] * size[1] > max(MAX_PIXELS, width * height):
            raise DataError(
                f"with its shorter side resized to {self.resize_short} the image of "
                f"{width}x{height} pixels would have {size[0]}x{size[1]}, more than the limit of "
                f"{MAX_PIXELS}; cut it"
            )
        return size


@TRANSFORMS.register()
class ResizeKeepRatio:
    """Resizes so that the image covers a size, or fits into it; the aspect ratio stays.

    Args:
        size: one number for both sides, or [width, height].
        longest: 0 makes the smallest image that covers `size`, 1 the largest that fits into it,
            and what lies between the two mixes their factors, as in timm.
        interpolation: None is bilinear.
        backend: library that resizes, see `Resizer`.
    """

    def __init__(
        self,
        size: Size,
        longest: Probability = 0.0,
        interpolation: Optional[Interpolation] = "bilinear",
        backend: Backend = "cv2",
    ):
        self.size = width_height(size)
        self.longest = longest
        self._resize = Resizer(interpolation, backend)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        shrinkages = (width / self.size[0], height / self.size[1])
        shrinkage = max(shrinkages) * self.longest + min(shrinkages) * (1 - self.longest)
        size = (max(round(width / shrinkage), 1), max(round(height / shrinkage), 1))
        return self._resize(image, size, rng)
