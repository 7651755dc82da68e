"""From pixel values to what the model reads."""

from typing import Literal, Optional

import cv2
import numpy as np

from ppcls.config.types import Number
from ppcls.data.transform.resample import Normalization
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

    In memory the result is (C, H, W), whatever its shape: `ToCHWImage` gives it without a copy.

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
        self.normalization = Normalization(
            np.float32(1.0 / 255.0 if scale is None else scale),
            np.array(mean or _IMAGENET_MEAN).astype(np.float32),
            np.array(std or _IMAGENET_STD).astype(np.float32),
        )
        # What each of the 256 pixel values becomes: a look-up gives bit for bit what the
        # arithmetic gives, several times faster.
        values = np.arange(256, dtype=np.float32)
        self._tables = [self._normalize(values, channel) for channel in range(3)]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if image.shape[self.channel_axis] != 3:
            layout = "(3, H, W)" if self.channel_axis == 0 else "(H, W, 3)"
            raise DataError(
                f"NormalizeImage expects {layout}, received {image.shape}; `order` must be chw "
                "after ToCHWImage and hwc (or '') before"
            )
        image = np.ascontiguousarray(image, dtype=None if image.dtype == np.uint8 else np.float32)
        # Plane by plane also where the channels stand last: the model reads planes, so that what
        # stacks and copies the result later finds it in order.
        size = image.shape[1:] if self.channel_axis == 0 else image.shape[:2]
        normalized = np.empty((self.channel_num, *size), dtype=np.float32)
        for channel in range(3):
            plane = image[channel] if self.channel_axis == 0 else cv2.extractChannel(image, channel)
            if image.dtype == np.uint8:
                cv2.LUT(plane, self._tables[channel], normalized[channel])
            else:
                normalized[channel] = self._normalize(plane, channel)
        normalized[3:] = 0
        normalized = normalized.astype(self.dtype, copy=False)
        return normalized if self.channel_axis == 0 else normalized.transpose(1, 2, 0)

    def _normalize(self, values: np.ndarray, channel: int) -> np.ndarray:
        scale, mean, std = self.normalization
        return (values * scale - mean[channel]) / std[channel]


@TRANSFORMS.register()
class ToCHWImage:
    """(H, W, C) to (C, H, W), as a view."""

    def __init__(self) -> None:
        pass

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image.transpose(2, 0, 1)
