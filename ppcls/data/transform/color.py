"""Random changes of colour."""

from typing import Union

import numpy as np
from PIL import Image, ImageEnhance

from ppcls.config.types import NonNegativeFloat, Probability
from ppcls.registry import TRANSFORMS

#: A strength s draws from [max(0, 1 - s), 1 + s]; a pair gives the range itself.
Strength = Union[NonNegativeFloat, tuple[NonNegativeFloat, NonNegativeFloat]]


@TRANSFORMS.register()
class ColorJitter:
    """Random brightness, contrast, saturation and hue, in random order.

    Args:
        brightness, contrast, saturation: strength, or range of the factor (1 changes nothing).
        hue: strength in 0..0.5, or range in -0.5..0.5, of the shift as a part of the full circle.
        p: how often.
    """

    def __init__(
        self,
        brightness: Strength = 0.0,
        contrast: Strength = 0.0,
        saturation: Strength = 0.0,
        hue: Union[NonNegativeFloat, tuple[float, float]] = 0.0,
        p: Probability = 1.0,
    ):
        self.prob = p
        changes = [
            (_brightness, _range(brightness, center=1.0)),
            (_contrast, _range(contrast, center=1.0)),
            (_saturation, _range(saturation, center=1.0)),
            (_shift_hue, _range(hue, center=0.0)),
        ]
        self._changes = [change for change in changes if change[1][0] != change[1][1]]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self._changes or rng.random() >= self.prob:
            return image
        picture = Image.fromarray(image)
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
