"""Neighbouring operators as one step, where the native library computes them together.

A fused step gives bit for bit what its operators give one after the other, without computing
pixels that the crop throws away, and without whole images in between.
"""

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np

from ppcls.data.transform.crop import CropImage, RandCropImage
from ppcls.data.transform.decode import DecodeImage, decode_pixels
from ppcls.data.transform.normalize import NormalizeImage, ToCHWImage
from ppcls.data.transform.reduced_decode import ReducedDecode
from ppcls.data.transform.resample import Part, can_resize, native_is_used, resize_part
from ppcls.data.transform.resize import ResizeImage

_METHODS = ("bilinear", "bicubic", "random")


def fuse(operators: Sequence[Any]) -> "list[Any]":
    """The steps that `operators` are run as.

    Without the native library they are the operators, but for what `DecodeImage` may reduce.
    """
    steps, rest = [], list(operators)
    while rest:
        fused = ReducedDecode.match(rest)
        if fused is None and native_is_used():
            fused = FusedResize.match(rest)
        steps.append(fused or rest[0])
        rest = rest[len(fused.operators) if fused else 1 :]
    return steps


class FusedResize:
    """[DecodeImage] (ResizeImage [CropImage] | RandCropImage) [NormalizeImage ToCHWImage].

    Use `match` to make one.
    """

    def __init__(
        self,
        operators: "list[Any]",
        decode: Optional[DecodeImage],
        resize: "Union[ResizeImage, RandCropImage]",
        crop: Optional[CropImage],
        normalize: Optional[NormalizeImage],
    ):
        self.operators = operators
        self.name = " + ".join(type(operator).__name__ for operator in operators)
        self.decode = decode
        self.resize = resize
        self.crop = crop
        self.normalization = normalize.normalization if normalize else None

    @classmethod
    def match(cls, operators: "list[Any]") -> "Optional[FusedResize]":
        """The longest step that `operators` begin with, if it fuses two or more."""
        rest = list(operators)
        decode = rest.pop(0) if rest and _gives_rgb(rest[0]) else None
        resize = rest.pop(0) if rest and _resizes_as_pillow(rest[0]) else None
        if resize is None:
            return None
        crop = None
        if rest and isinstance(resize, ResizeImage) and isinstance(rest[0], CropImage):
            crop = rest.pop(0)
        normalize = None
        if len(rest) > 1 and _gives_float32(rest[0]) and isinstance(rest[1], ToCHWImage):
            normalize = rest[0]
            del rest[:2]
        count = len(operators) - len(rest)
        return cls(operators[:count], decode, resize, crop, normalize) if count > 1 else None

    def __call__(self, image: Union[bytes, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        is_bgr = False
        if self.decode and not isinstance(image, np.ndarray):
            image, is_bgr = decode_pixels(image, self.decode.backend)
        if not can_resize(image):
            for operator in self.operators:
                image = operator(image, rng)
            return image
        height, width = image.shape[:2]
        if isinstance(self.resize, RandCropImage):
            left, top, width, height = self.resize.draw_box(width, height, rng)
            image = image[top : top + height, left : left + width]
            size = self.resize.size
        else:
            size = self.resize.new_size(width, height)
        method = self.resize.resize.draw_method(rng)
        part = self.crop.part(*size) if self.crop else Part(0, 0, *size)
        return resize_part(image, size, method, part, swap=is_bgr, normalization=self.normalization)


def _gives_rgb(operator: Any) -> bool:
    return isinstance(operator, DecodeImage) and operator.to_rgb and not operator.channel_first


def _resizes_as_pillow(operator: Any) -> bool:
    return (
        isinstance(operator, (ResizeImage, RandCropImage))
        and operator.resize.backend == "pil"
        and operator.resize.interpolation in _METHODS
    )


def _gives_float32(operator: Any) -> bool:
    return (
        isinstance(operator, NormalizeImage)
        and operator.channel_axis == 2
        and operator.channel_num == 3
        and operator.dtype == np.float32
    )
