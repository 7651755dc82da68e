"""Mirroring."""

from typing import Literal

import cv2
import numpy as np

from ppcls.config.types import Probability
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
