"""Random changes of colour."""

from typing import Annotated, Union

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from ppcls.config.types import NonNegativeFloat, Probability, Range
from ppcls.data.transform.pillow import to_pillow
from ppcls.registry import TRANSFORMS

#: A strength s draws from [max(0, 1 - s), 1 + s]; a pair gives the range itself.
Strength = Union[NonNegativeFloat, tuple[NonNegativeFloat, NonNegativeFloat]]

_HueStrength = Annotated[float, Range(0, 0.5)]
_Hue = Annotated[float, Range(-0.5, 0.5)]


@TRANSFORMS.register()
class ColorJitter:
    """Random brightness, contrast, saturation and hue, in random order.

    Args:
        brightness, contrast, saturation: strength, or range of the factor (1 changes nothing).
        hue: strength in 0..0.5, or range in -0.5..0.5, of the shift as a part of the full circle.
        prob: how often; PaddleClas's default of 2 means always, like any value above 1.
    """

    def __init__(
        self,
        brightness: Strength = 0.0,
        contrast: Strength = 0.0,
        saturation: Strength = 0.0,
        hue: Union[_HueStrength, tuple[_Hue, _Hue]] = 0.0,
        prob: NonNegativeFloat = 1.0,
    ):
        self.prob = prob
        changes = [
            (_brightness, _range(brightness, center=1.0), 1.0),
            (_contrast, _range(contrast, center=1.0), 1.0),
            (_saturation, _range(saturation, center=1.0), 1.0),
            (_shift_hue, _range(hue, center=0.0), 0.0),
        ]
        self._changes = [
            (change, limits) for change, limits, none in changes if limits != (none, none)
        ]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self._changes or rng.random() >= self.prob:
            return image
        picture = to_pillow(image)
        for index in rng.permutation(len(self._changes)):
            change, limits = self._changes[index]
            picture = change(picture, rng.uniform(*limits))
        return np.asarray(picture)


def _range(strength: Strength, center: float) -> "tuple[float, float]":
    if isinstance(strength, (int, float)):
        return max(center - strength, center - 1.0), center + strength
    low, high = strength
    return low, high


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _shift_hue(image: Image.Image, part: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.asarray(hue) + np.uint8(int(part * 255) % 256)  # wraps, as hue does
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


@TRANSFORMS.register()
class RandomGrayscale:
    """Makes the image grey with a probability; it keeps three channels.

    Args:
        p: how often.
    """

    def __init__(self, p: Probability = 0.1):
        self.prob = p

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


@TRANSFORMS.register()
class PCALighting:
    """Shifts the colour along the principal components of ImageNet's pixels.

    Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks",
    section 4.1. Takes (H, W, 3) of values in 0..1, that is after a `NormalizeImage` that only
    scales; of uint8 images it shifts the 255-fold.

    Args:
        alphastd: standard deviation of the three random weights.
    """

    _VALUES = np.array([0.2175, 0.0188, 0.0045])
    _VECTORS = np.array(
        [
            [-0.5675, 0.7192, 0.4009],
            [-0.5808, -0.0045, -0.8140],
            [-0.5836, -0.6948, 0.4203],
        ]
    )

    def __init__(self, alphastd: NonNegativeFloat = 0.1):
        self.alphastd = alphastd

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shift = self._VECTORS @ (rng.normal(0, self.alphastd, 3) * self._VALUES)
        if image.dtype == np.uint8:
            shifted = np.rint(image + 255 * shift)
            return np.clip(shifted, 0, 255).astype(np.uint8)
        return image + shift.astype(image.dtype)
