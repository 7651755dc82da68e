"""From pixel values to what the model reads."""

from typing import Literal, Optional

import cv2
import numpy as np

from ppcls.config.types import Number
from ppcls.errors import DataError
from ppcls.registry import TRANSFORMS

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@TRANSFORMS.register()
class NormalizeImage:
    """`(image * scale - mean) / std` in float32.

    Args:
        scale: None is 1/255.
        mean: one value per channel; None is that of ImageNet, of values in 0..1.
        std: as `mean`.
        order: "chw" if the image comes as (3, H, W); anything else is (H, W, 3).
        output_fp16: give float16 (computed in float32).
        channel_num: 4 appends a channel of zeros.

    Raises (when called):
        DataError: the image has the other layout.
    """

    def __init__(
        self,
        scale: Optional[Number] = None,
        mean: Optional[tuple[Number, Number, Number]] = None,
        std: Optional[tuple[Number, Number, Number]] = None,
        order: Optional[Literal["chw", "hwc", ""]] = "chw",
        output_fp16: bool = False,
        channel_num: Literal[3, 4] = 3,
    ):
        self.channel_axis = 0 if order == "chw" else 2
        self.dtype = np.float16 if output_fp16 else np.float32
        self.channel_num = channel_num
        self._scale = np.float32(1.0 / 255.0 if scale is None else scale)
        shape = (3, 1, 1) if order == "chw" else (1, 1, 3)
        self._mean, self._std = (
            np.array(values).reshape(shape).astype(np.float32)
            for values in (mean or _IMAGENET_MEAN, std or _IMAGENET_STD)
        )
        # What each of the 256 pixel values becomes, (256, 1, 3): a look-up gives bit for bit
        # what the arithmetic gives, several times faster.
        values = np.arange(256, dtype=np.float32)[:, None, None]
        self._table = self._normalize(
            values, self._mean.reshape(1, 1, 3), self._std.reshape(1, 1, 3)
        )

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if image.shape[self.channel_axis] != 3:
            layout = "(3, H, W)" if self.channel_axis == 0 else "(H, W, 3)"
            raise DataError(
                f"NormalizeImage expects {layout}, received {image.shape}; `order` must be chw "
                "after ToCHWImage and hwc (or '') before"
            )
        if image.dtype == np.uint8 and self.channel_axis == 2:
            normalized = cv2.LUT(image, self._table)
        else:
            normalized = self._normalize(image.astype(np.float32), self._mean, self._std)
        if self.channel_num == 4:
            padding = [(0, 0)] * 3
            padding[self.channel_axis] = (0, 1)
            normalized = np.pad(normalized, padding)
        return normalized.astype(self.dtype, copy=False)

    def _normalize(self, image: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return (image * self._scale - mean) / std


@TRANSFORMS.register()
class ToCHWImage:
    """(H, W, C) to (C, H, W), as a view."""

    def __init__(self) -> None:
        pass

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image.transpose(2, 0, 1)
