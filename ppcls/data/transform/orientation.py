"""Mirroring and turning."""

from typing import Annotated, Literal, Optional, Union

import cv2
import numpy as np
from PIL import Image

from ppcls.config.types import NonNegativeFloat, Probability, Range
from ppcls.data.transform.pillow import to_pillow
from ppcls.registry import TRANSFORMS

_Value = Annotated[int, Range(0, 255)]


@TRANSFORMS.register()
class RandFlipImage:
    """Mirrors the image with a probability.

    Args:
        flip_code: 1 left-right, 0 upside down, -1 both.
        prob: how often.
    """

    def __init__(self, flip_code: Literal[1, 0, -1] = 1, prob: Probability = 0.5):
        self.flip_code = flip_code
        self.prob = prob

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.flip(image, self.flip_code) if rng.random() < self.prob else image


@TRANSFORMS.register()
class RandomHorizontalFlip(RandFlipImage):
    """Mirrors the image left-right with a probability.

    Args:
        prob: how often.
    """

    def __init__(self, prob: Probability = 0.5):
        super().__init__(prob=prob)


@TRANSFORMS.register()
class RandomRotation:
    """Turns the image counter-clockwise with a probability.

    Args:
        prob: how often.
        degrees: the angle is drawn from -degrees..degrees, or from this range.
        interpolation: Pillow's.
        expand: make the image as large as the turned one needs; such images differ in size.
        center: [x, y] to turn around; None is the middle.
        fill: what is uncovered becomes this grey or RGB colour.
    """

    def __init__(
        self,
        prob: Probability = 0.5,
        degrees: Union[NonNegativeFloat, tuple[float, float]] = 90,
        interpolation: Literal["nearest", "bilinear", "bicubic"] = "nearest",
        expand: bool = False,
        center: Optional[tuple[float, float]] = None,
        fill: Union[_Value, tuple[_Value, _Value, _Value]] = 0,
    ):
        self.prob = prob
        is_range = isinstance(degrees, (list, tuple))
        self.degrees = tuple(degrees) if is_range else (-degrees, degrees)
        self.resample = Image.Resampling[interpolation.upper()]
        self.expand = expand
        self.center = center
        self.fill = (fill,) * 3 if isinstance(fill, int) else tuple(fill)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        angle = rng.uniform(*self.degrees)
        turned = to_pillow(image).rotate(
            angle, self.resample, self.expand, self.center, fillcolor=self.fill
        )
        return np.asarray(turned)
