"""Mirroring and turning."""

from typing import Literal

import cv2
import numpy as np
from PIL import Image

from ppcls.config.types import NonNegativeFloat, Probability
from ppcls.registry import TRANSFORMS


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
class RandomRotation:
    """Turns the image around its centre with a probability; what is uncovered becomes black.

    Args:
        prob: how often.
        degrees: the angle is drawn from -degrees..degrees.
        interpolation: Pillow's.
    """

    def __init__(
        self,
        prob: Probability = 0.5,
        degrees: NonNegativeFloat = 90,
        interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear",
    ):
        self.prob = prob
        self.degrees = degrees
        self.resample = Image.Resampling[interpolation.upper()]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        angle = rng.uniform(-self.degrees, self.degrees)
        return np.asarray(Image.fromarray(image).rotate(angle, resample=self.resample))
