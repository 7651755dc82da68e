"""Pillow's resizing, by Pillow or by the native library, which computes the same bits faster.

The native library also computes only a part of the result, and normalised values at once.
"""

import functools
from typing import Any, NamedTuple, Optional

import numpy as np
import PIL
from PIL import Image

from ppcls.data.transform import native
from ppcls.data.transform.pillow import to_pillow
from ppcls.utils.logger import logger

#: Methods of the native library, by its numbers for them.
_FILTERS = {Image.Resampling.BILINEAR: 0, Image.Resampling.BICUBIC: 1}
_PILLOW = int(PIL.__version__.split(".")[0])


class Part(NamedTuple):
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Normalization(NamedTuple):
    """`(value * scale - mean) / std`: scale a float32, mean and std (3,) float32."""

    scale: np.float32
    mean: np.ndarray
    std: np.ndarray


def resize_as_pillow(
    image: np.ndarray, size: "tuple[int, int]", method: Image.Resampling
) -> np.ndarray:
    """`image` (H, W, C) uint8 at the size (width, height), as `PIL.Image.resize` makes it."""
    if native_is_used() and method in _FILTERS and can_resize(image):
        return resize_part(image, size, method, Part(0, 0, *size))
    return np.asarray(to_pillow(image).resize(size, method))


@functools.lru_cache(maxsize=1)
def native_is_used() -> bool:
    """Whether the native library is there and agrees with the installed Pillow."""
    if native.load() is None:
        return False
    if _agrees():
        return True
    logger.warning(
        f"the native library resizes differently from Pillow {PIL.__version__} and is not used"
    )
    return False


def can_resize(image: Any) -> bool:
    """Whether `resize_part` takes this image."""
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.size > 0
        and image.ndim == 3
        and image.shape[2] == 3
        and image.strides[1:] == (3, 1)
        and image.strides[0] > 0
    )


def resize_part(
    image: np.ndarray,
    size: "tuple[int, int]",
    method: Image.Resampling,
    part: Part,
    *,
    swap: bool = False,
    normalization: Optional[Normalization] = None,
) -> np.ndarray:
    """A part of the resized image, by the native library.

    Args:
        image: (H, W, 3) uint8, its rows contiguous; see `can_resize`.
        size: (width, height) of the whole result.
        method: bilinear or bicubic.
        part: of the result, what is computed.
        swap: reverse the channels.
        normalization: give (3, height, width) float32.

    Returns:
        (height, width, 3) uint8, or as `normalization` says.
    """
    height, width = image.shape[:2]
    if normalization is None:
        result = np.empty((part.height, part.width, 3), np.uint8)
        outputs = (_address(result), 1.0, None, None, None)
    else:
        result = np.empty((3, part.height, part.width), np.float32)
        scale, mean, std = normalization
        outputs = (None, scale, _address(mean), _address(std), _address(result))
    native.load().ppcls_resample(
        *(_address(image), image.strides[0], width, height),
        *(_FILTERS[method], _columns_first((width, height), size), *size),
        *part,
        *(swap, *outputs),
    )
    return result


def _address(array: np.ndarray) -> int:
    # `array.ctypes.data` takes 3 us, which counts once per image.
    return array.__array_interface__["data"][0]


def _columns_first(old: "tuple[int, int]", new: "tuple[int, int]") -> bool:
    """Which of its two passes Pillow makes first; the result of the first is rounded."""
    if _PILLOW >= 13:
        return old[1] > new[1] and old[1] - new[1] > 2 * (old[0] - new[0])
    return old[1] > 100 * old[0] and old[1] > new[1]


def _agrees() -> bool:
    """Compares with Pillow where its versions and any mistake would differ: on noise."""
    rng = np.random.default_rng(0)
    for old, new in (((60, 50), (33, 29)), ((40, 60), (30, 20)), ((20, 30), (50, 31))):
        image = rng.integers(0, 2, (old[1], old[0], 3), dtype=np.uint8) * np.uint8(255)
        for method in _FILTERS:
            expected = np.asarray(Image.fromarray(image).resize(new, method))
            if not np.array_equal(resize_part(image, new, method, Part(0, 0, *new)), expected):
                return False
    return True
