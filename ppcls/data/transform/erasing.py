"""Hiding a part of the image."""

import math
from typing import Literal

import numpy as np

from ppcls.config.types import Number, PositiveFloat, PositiveInt, Probability
from ppcls.registry import TRANSFORMS


@TRANSFORMS.register()
class RandomErasing:
    """Fills a random rectangle (Zhong et al. 2017, arXiv:1708.04896).

    Args:
        EPSILON: how often.
        sl: smallest area of the rectangle, relative to the image's.
        sh: largest area.
        r1: smallest height / width; the largest is 1 / r1.
        mean: value per channel that `mode: const` fills in.
        attempt: draws before giving up on a rectangle that fits.
        use_log_aspect: draw the logarithm of the aspect ratio uniformly.
        mode: "const" fills in `mean`, "rand" one standard normal colour, "pixel" standard normal
            noise, each pixel its own; so the image should be normalised before.
    """

    def __init__(
        self,
        EPSILON: Probability = 0.5,  # noqa: N803  (the name in YAML)
        sl: PositiveFloat = 0.02,
        sh: PositiveFloat = 0.4,
        r1: PositiveFloat = 0.3,
        mean: tuple[Number, Number, Number] = (0.0, 0.0, 0.0),
        attempt: PositiveInt = 100,
        use_log_aspect: bool = False,
        mode: Literal["const", "rand", "pixel"] = "const",
    ):
        self.prob = EPSILON
        self.area = (sl, sh)
        self.ratio = (r1, 1 / r1)
        self.mean = np.array(mean, dtype=np.float32)
        self.attempt = attempt
        self.use_log_aspect = use_log_aspect
        self.mode = mode

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        for _ in range(self.attempt):
            height, width = self._draw_size(image, rng)
            if height < image.shape[0] and width < image.shape[1]:
                top = rng.integers(image.shape[0] - height + 1)
                left = rng.integers(image.shape[1] - width + 1)
                image = image.copy()
                image[top : top + height, left : left + width] = self._pixels(
                    height, width, image.shape[2], rng
                )
                break
        return image

    def _draw_size(self, image: np.ndarray, rng: np.random.Generator) -> "tuple[int, int]":
        area = rng.uniform(*self.area) * image.shape[0] * image.shape[1]
        if self.use_log_aspect:
            aspect = math.exp(rng.uniform(*map(math.log, self.ratio)))
        else:
            aspect = rng.uniform(*self.ratio)
        return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))

    def _pixels(
        self, height: int, width: int, channels: int, rng: np.random.Generator
    ) -> np.ndarray:
        if self.mode == "const":
            return self.mean
        if self.mode == "rand":
            return rng.standard_normal(channels, dtype=np.float32)
        return rng.standard_normal((height, width, channels), dtype=np.float32)
