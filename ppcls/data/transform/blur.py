"""Random blur."""

from typing import Annotated

import cv2
import numpy as np

from ppcls.config.types import Probability, Range
from ppcls.registry import TRANSFORMS

_KernelSize = Annotated[int, Range(low=3)]


@TRANSFORMS.register()
class BlurImage:
    """Blurs the image with a probability: as out of focus, or as moved, equally likely.

    Args:
        ratio: how often.
        motion_max_ksize: largest length of a movement, in pixels.
        motion_max_angle: its direction is drawn from -angle..angle degrees off the diagonal.
        gaussian_max_ksize: largest width of the Gaussian's kernel, whose standard deviation
            OpenCV derives from it.
    """

    def __init__(
        self,
        ratio: Probability = 0.5,
        motion_max_ksize: _KernelSize = 12,
        motion_max_angle: Annotated[float, Range(0, 180)] = 45,
        gaussian_max_ksize: _KernelSize = 12,
    ):
        self.prob = ratio
        self.motion_max_ksize = motion_max_ksize
        self.motion_max_angle = motion_max_angle
        self.gaussian_max_ksize = gaussian_max_ksize

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        if rng.random() < 0.5:
            size = 2 * int(rng.integers(1, (self.gaussian_max_ksize + 1) // 2)) + 1
            return cv2.GaussianBlur(image, (size, size), 0)
        length = int(rng.integers(2, self.motion_max_ksize + 1))
        angle = rng.uniform(-self.motion_max_angle, self.motion_max_angle)
        return cv2.filter2D(image, -1, motion_kernel(length, angle))


def motion_kernel(length: int, angle: float) -> np.ndarray:
    """(length, length) float32 of sum 1: a diagonal line turned by `angle` degrees."""
    middle = ((length - 1) / 2, (length - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, angle, 1)
    kernel = cv2.warpAffine(np.eye(length, dtype=np.float32), turn, (length, length))
    return kernel / kernel.sum()
