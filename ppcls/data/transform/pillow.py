"""From arrays to Pillow images."""

import numpy as np
from PIL import Image


def to_pillow(image: np.ndarray) -> Image.Image:
    """The Pillow image of an array (H, W, 3) or (H, W) uint8.

    `Image.fromarray` alone takes a part of an array (a crop) byte by byte: a hundred times slower
    than copying it before.
    """
    return Image.fromarray(np.ascontiguousarray(image))
