"""Decoding JPEG photos at a half, a quarter or an eighth of their size, where that is enough.

The inverse cosine transform can give its blocks smaller, which saves most of the time of decoding
large photos. The pixels are averages, so results differ a little from those of full decoding; that
is why `DecodeImage` must be told to (`reduce: auto`), and why it is meant for training.
"""

from typing import Any, Optional, Union

import numpy as np

from ppcls.data.transform.crop import RandCropImage
from ppcls.data.transform.decode import DecodeImage, decode_reduced, upright_jpeg_size
from ppcls.data.transform.resize import ResizeImage

_FACTORS = (8, 4, 2)


class ReducedDecode:
    """DecodeImage (RandCropImage | ResizeImage), for `reduce: auto`.

    What is cut out is rounded to whole pixels of the smaller image: by less than half a pixel of
    the result. Other files than JPEG are decoded whole.
    """

    def __init__(self, decode: DecodeImage, resize: "Union[RandCropImage, ResizeImage]"):
        self.operators = [decode, resize]
        self.name = " + ".join(type(operator).__name__ for operator in self.operators)
        self.resize = resize

    @classmethod
    def match(cls, operators: "list[Any]") -> "Optional[ReducedDecode]":
        """The step that `operators` begin with, if they do."""
        if len(operators) < 2 or not isinstance(operators[0], DecodeImage):
            return None
        decode, resize = operators[:2]
        if decode.reduce == "never" or not isinstance(resize, (RandCropImage, ResizeImage)):
            return None
        return cls(decode, resize)

    def __call__(self, image: Union[bytes, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        whole = None if isinstance(image, np.ndarray) else upright_jpeg_size(image)
        if whole is None:
            for operator in self.operators:
                image = operator(image, rng)
            return image
        if isinstance(self.resize, RandCropImage):
            box = self.resize.draw_box(*whole, rng)
            size = self.resize.size
        else:
            box = (0, 0, *whole)
            size = self.resize.new_size(*whole)
        enough = (f for f in _FACTORS if box[2] >= f * size[0] and box[3] >= f * size[1])
        factor = next(enough, 1)
        pixels = decode_reduced(image, factor)
        left, top, width, height = (round(length / factor) for length in box)
        return self.resize.resize(pixels[top : top + height, left : left + width], size, rng)
