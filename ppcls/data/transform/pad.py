"""Making the image larger."""

from typing import Literal, Optional, Union

import cv2
import numpy as np

from ppcls.config.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from ppcls.data.transform.resize import Backend, Size, width_height
from ppcls.errors import ConfigError, DataError
from ppcls.registry import TRANSFORMS

_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


@TRANSFORMS.register()
class Pad:
    """Makes the image larger on all sides.

    Args:
        padding: pixels, one number or [left and right, top and bottom] or [left, top, right,
            bottom].
        fill: value of `constant`, one for all channels or one for each.
        padding_mode: what to fill with, as in `numpy.pad`.
        backend: accepted from PaddleClas.
    """

    def __init__(
        self,
        padding: Union[NonNegativeInt, list[NonNegativeInt]],
        fill: Union[NonNegativeInt, tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]] = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
        backend: Backend = "pil",
    ):
        sides = [padding] if isinstance(padding, int) else list(padding)
        if len(sides) not in (1, 2, 4):
            raise ConfigError(f"Pad: padding takes 1, 2 or 4 numbers, received {padding}")
        self.left, self.top, self.right, self.bottom = sides * (4 // len(sides))
        self.border = _BORDERS[padding_mode]
        self.fill = (fill,) * 3 if isinstance(fill, int) else tuple(fill)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sides = (self.top, self.bottom, self.left, self.right)
        return cv2.copyMakeBorder(image, *sides, self.border, value=self.fill)


@TRANSFORMS.register()
class Padv2:
    """Makes the image as large as a size, or as the next multiple of a number.

    Args:
        size: one number for both sides, or [width, height].
        size_divisor: without `size`, both sides become multiples of it.
        pad_mode: where the image lies: 0 top left, 1 in the middle, 2 bottom right, -1 at
            `offsets`.
        offsets: [left, top] of `pad_mode: -1`.
        fill_value: of all channels or of each. Fractions make the image float32.

    Raises:
        ConfigError: `pad_mode: -1` without `offsets`.

    Raises (when called):
        DataError: the image is larger than `size`.
    """

    def __init__(
        self,
        size: Optional[Size] = None,
        size_divisor: PositiveInt = 32,
        pad_mode: Literal[-1, 0, 1, 2] = 0,
        offsets: Optional[tuple[NonNegativeInt, NonNegativeInt]] = None,
        fill_value: Union[
            NonNegativeFloat, tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
        ] = (127.5, 127.5, 127.5),
    ):
        if pad_mode == -1 and offsets is None:
            raise ConfigError("Padv2: `pad_mode: -1` needs `offsets`, [left, top]")
        self.size = None if size is None else width_height(size)
        self.divisor = size_divisor
        self.mode = pad_mode
        self.offsets = offsets
        self.fill = (fill_value,) * 3 if isinstance(fill_value, (int, float)) else tuple(fill_value)
        self.is_whole = all(float(value).is_integer() for value in self.fill)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        right, bottom = self._spare(width, height)
        if self.mode == -1:
            left, top = self.offsets
        elif self.mode == 0:
            left, top = 0, 0
        elif self.mode == 1:
            left, top = right // 2, bottom // 2
        else:
            left, top = right, bottom
        right, bottom = right - left, bottom - top
        if min(right, bottom) < 0:
            goal = f"multiples of {self.divisor}" if self.size is None else f"{self.size}"
            raise DataError(
                f"Padv2 makes images of (width, height) {goal}, at the offset {(left, top)}; "
                f"this one of {(width, height)} does not fit"
            )
        if not self.is_whole:
            image = image.astype(np.float32)
        border = cv2.BORDER_CONSTANT
        return cv2.copyMakeBorder(image, top, bottom, left, right, border, value=self.fill)

    def _spare(self, width: int, height: int) -> "tuple[int, int]":
        """Columns and rows to add."""
        if self.size is None:
            return -width % self.divisor, -height % self.divisor
        return self.size[0] - width, self.size[1] - height
