"""Cutting a part out of the image."""

import copy
import math
from typing import Annotated, Optional

import numpy as np

from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability, Range
from ppcls.data.transform.progress import stage
from ppcls.data.transform.resample import Part
from ppcls.data.transform.resize import Backend, Interpolation, Resizer, Size, width_height
from ppcls.errors import DataError
from ppcls.registry import TRANSFORMS


@TRANSFORMS.register()
class CropImage:
    """The central part.

    Args:
        size: one number for both sides, or [width, height].

    Raises (when called):
        DataError: the image is smaller than `size`.
    """

    def __init__(self, size: Size):
        self.size = width_height(size)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        left, top, width, height = self.part(image.shape[1], image.shape[0])
        return image[top : top + height, left : left + width]

    def part(self, image_width: int, image_height: int) -> Part:
        """What is cut out of an image of that size.

        Raises:
            DataError: the image is smaller.
        """
        _check_fits("CropImage", self.size, image_width, image_height)
        width, height = self.size
        return Part((image_width - width) // 2, (image_height - height) // 2, width, height)


@TRANSFORMS.register()
class CropImageAtRatio:
    """The central square of which a centre crop of `size` out of `size + pad` is made, resized.

    Equals resizing the shorter side to `size + pad` and cutting out `size`, in one step.

    Args:
        size: side of the result.
        pad: what the resized shorter side would have more.
        interpolation: OpenCV's.
    """

    def __init__(
        self, size: PositiveInt, pad: NonNegativeInt, interpolation: Interpolation = "bilinear"
    ):
        self.size = (size, size)
        self.ratio = size / (size + pad)
        self._resize = Resizer(interpolation, "cv2")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(int(self.ratio * min(height, width)), 1)
        left, top = (width - side) // 2, (height - side) // 2
        return self._resize(image[top : top + side, left : left + side], self.size, rng)


@TRANSFORMS.register("RandCropImageV2")
@TRANSFORMS.register()
class RandomCropImage:
    """A random part, not resized.

    Args:
        size: one number for both sides, or [width, height].

    Raises (when called):
        DataError: the image is smaller than `size`.
    """

    def __init__(self, size: Size):
        self.size = width_height(size)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check_fits("RandomCropImage", self.size, image.shape[1], image.shape[0])
        width, height = self.size
        left = rng.integers(image.shape[1] - width + 1)
        top = rng.integers(image.shape[0] - height + 1)
        return image[top : top + height, left : left + width]


@TRANSFORMS.register()
class RandCropImage:
    """A random part, resized: the "Inception" crop (Szegedy et al. 2015, arXiv:1409.4842).

    Area and aspect ratio are drawn so that the part always fits, as in PaddleClas: the area is
    drawn up to the largest one that a part of the drawn aspect ratio can have.

    Args:
        size: of the result, one number for both sides, or [width, height].
        scale: smallest and largest area, relative to the image's.
        ratio: smallest and largest width / height.
        interpolation: None is bilinear.
        use_log_aspect: draw the logarithm of the aspect ratio uniformly, which makes wide and
            tall parts equally likely.
        backend: library that resizes, see `Resizer`.
        progress_size: sizes of equal parts of the training, first to last; they take the place
            of `size`.
    """

    def __init__(
        self,
        size: Size,
        scale: Optional[tuple[PositiveFloat, PositiveFloat]] = None,
        ratio: Optional[tuple[PositiveFloat, PositiveFloat]] = None,
        interpolation: Optional[Interpolation] = None,
        use_log_aspect: bool = False,
        backend: Backend = "cv2",
        progress_size: Optional[list[Size]] = None,
    ):
        self.size = width_height(size)
        self.progress_size = progress_size
        self.scale = tuple(scale or (0.08, 1.0))
        self.ratio = tuple(ratio or (3 / 4, 4 / 3))
        self.use_log_aspect = use_log_aspect
        self.resize = Resizer(interpolation, backend)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        left, top, width, height = self.draw_box(image.shape[1], image.shape[0], rng)
        return self.resize(image[top : top + height, left : left + width], self.size, rng)

    def at_epoch(self, epoch: int, epochs: int) -> "RandCropImage":
        """The operator of an epoch; see `ppcls.data.transform.progress`."""
        if not self.progress_size:
            return self
        operator = copy.copy(self)
        parts = self.progress_size
        operator.size = width_height(parts[stage(epoch, epochs, len(parts))])
        return operator

    def draw_box(
        self, image_width: int, image_height: int, rng: np.random.Generator
    ) -> "tuple[int, int, int, int]":
        """(left, top, width, height) of a part of an image of that size."""
        if self.use_log_aspect:
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        else:
            aspect = rng.uniform(*self.ratio)
        image_aspect = image_width / image_height
        largest = min(image_aspect / aspect, aspect / image_aspect)
        area = rng.uniform(min(self.scale[0], largest), min(self.scale[1], largest))
        area *= image_width * image_height
        # At least one pixel of images a few pixels wide, and never more than rounding allows.
        width = min(max(int(math.sqrt(area * aspect)), 1), image_width)
        height = min(max(int(math.sqrt(area / aspect)), 1), image_height)
        left = int(rng.integers(image_width - width + 1))
        top = int(rng.integers(image_height - height + 1))
        return left, top, width, height


@TRANSFORMS.register()
class RandomResizedCrop:
    """A random part, resized, as Paddle and torchvision choose it.

    Area and aspect ratio (uniform in its logarithm) are drawn up to ten times until the part fits;
    else it is the largest central one whose aspect ratio is in range.

    Args:
        size: of the result, one number for both sides, or [height, width] (Paddle's order).
        scale: smallest and largest area, relative to the image's.
        ratio: smallest and largest width / height.
        interpolation: None is bilinear.
        backend: library that resizes, see `Resizer`.
    """

    _ATTEMPTS = 10

    def __init__(
        self,
        size: Size,
        scale: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0),
        ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3),
        interpolation: Optional[Interpolation] = "bilinear",
        backend: Backend = "cv2",
    ):
        height, width = width_height(size)
        self.size = (width, height)
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self._resize = Resizer(interpolation, backend)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        left, top, width, height = self.draw_box(image.shape[1], image.shape[0], rng)
        return self._resize(image[top : top + height, left : left + width], self.size, rng)

    def draw_box(
        self, image_width: int, image_height: int, rng: np.random.Generator
    ) -> "tuple[int, int, int, int]":
        """(left, top, width, height) of a part of an image of that size."""
        for _ in range(self._ATTEMPTS):
            area = rng.uniform(*self.scale) * image_width * image_height
            aspect = math.exp(rng.uniform(*map(math.log, self.ratio)))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= image_width and 0 < height <= image_height:
                left = int(rng.integers(image_width - width + 1))
                top = int(rng.integers(image_height - height + 1))
                return left, top, width, height
        low, high = self.ratio
        width = min(image_width, max(round(image_height * high), 1))
        height = min(image_height, max(round(image_width / low), 1))
        return (image_width - width) // 2, (image_height - height) // 2, width, height


@TRANSFORMS.register()
class CropWithPadding:
    """Keeps the part that `RandomResizedCrop` would choose, in its place, and hides the rest.

    Args:
        prob: how often.
        padding_num: value of the hidden pixels.
        size, interpolation: accepted from PaddleClas; the image keeps its size.
        scale: smallest and largest area of the part, relative to the image's.
        ratio: smallest and largest width / height.
    """

    def __init__(
        self,
        prob: Probability = 1.0,
        padding_num: Annotated[int, Range(0, 255)] = 0,
        size: Size = 224,
        scale: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0),
        ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3),
        interpolation: Optional[Interpolation] = "bilinear",
    ):
        self.prob = prob
        self.value = padding_num
        self._crop = RandomResizedCrop(size, scale, ratio)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        left, top, width, height = self._crop.draw_box(image.shape[1], image.shape[0], rng)
        hidden = np.full_like(image, self.value)
        part = np.s_[top : top + height, left : left + width]
        hidden[part] = image[part]
        return hidden


def _check_fits(operator: str, size: "tuple[int, int]", width: int, height: int) -> None:
    if width < size[0] or height < size[1]:
        raise DataError(
            f"{operator} cuts out {size[0]}x{size[1]} pixels, but the image has {width}x{height}; "
            "resize it before, or choose a smaller size"
        )
