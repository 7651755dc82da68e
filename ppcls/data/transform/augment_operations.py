"""The operations that AutoAugment, RandAugment and AugMix choose from.

Each is a function `operation(image, level, draw)` of a Pillow image, a level in 0..1 and a `Draw`,
which holds what the policy has in common. The ranges are those of timm, which PaddleClas uses:
under plain names, Posterize, Solarize and the enhancements do not grow with the level (a habit of
the first published code); under `...Increasing` names they do. Published code knows five ways from
a level to the bits that Posterize keeps; each has its name here.
"""

import math
from typing import Callable, Optional

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Color = "tuple[int, int, int]"

_BLACK = (0, 0, 0)
_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_FLAGS = {_BILINEAR: cv2.INTER_LINEAR, _BICUBIC: cv2.INTER_CUBIC}


class Draw:
    """Random choices of operations, and what they fill in.

    Args:
        rng: the sample's generator.
        fill: colour of the corners that a rotation, shear or translation uncovers.
        resample: Pillow's interpolation; None draws bilinear or bicubic each time.
        translate_fraction: longest relative translation, of the image's side.
        translate_pixels: longest absolute translation.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        fill: Color = (128, 128, 128),
        resample: Optional[Image.Resampling] = None,
        translate_fraction: float = 0.45,
        translate_pixels: float = 100,
    ):
        self.rng = rng
        self.fill = fill
        self._resample = resample
        self.translate_fraction = translate_fraction
        self.translate_pixels = translate_pixels

    def signed(self, value: float) -> float:
        """`value` or `-value`, equally likely."""
        return -value if self.rng.random() < 0.5 else value

    def resample(self) -> Image.Resampling:
        if self._resample is not None:
            return self._resample
        return _BILINEAR if self.rng.random() < 0.5 else _BICUBIC

    def affine(self, image: Image.Image, matrix: "tuple[float, ...]") -> Image.Image:
        """The image whose point (x, y) is the old (a x + b y + c, d x + e y + f).

        Coordinates are those of Pillow, where the first pixel reaches from 0 to 1. OpenCV
        interpolates, twice as fast as Pillow and, on photos, about one level of 255 from it.
        """
        resample = self.resample()
        if resample == Image.Resampling.NEAREST:
            return image.transform(
                image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=self.fill
            )
        a, b, c, d, e, f = matrix
        # OpenCV counts from the centre of the first pixel.
        indices = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])
        flags = cv2.WARP_INVERSE_MAP | _FLAGS[resample]
        pixels = cv2.warpAffine(
            np.asarray(image), indices, image.size, flags=flags, borderValue=self.fill
        )
        return Image.fromarray(pixels)


Operation = Callable[[Image.Image, float, Draw], Image.Image]


def _solarize_add(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    addend = int(110 * level)
    table = [min(255, value + addend) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    # ImageOps.posterize of recent Pillow refuses 0 bits, which the level of timm reaches.
    mask = 0xFF & ~(0xFF >> bits)
    return image.point([value & mask for value in range(256)] * 3)


def _translate_x(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    pixels = draw.signed(level * draw.translate_fraction) * image.width
    return draw.affine(image, (1, 0, pixels, 0, 1, 0))


def _translate_y(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    pixels = draw.signed(level * draw.translate_fraction) * image.height
    return draw.affine(image, (1, 0, 0, 0, 1, pixels))


def _translate_x_pixels(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    return draw.affine(image, (1, 0, draw.signed(level * draw.translate_pixels), 0, 1, 0))


def _translate_y_pixels(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    return draw.affine(image, (1, 0, 0, 0, 1, draw.signed(level * draw.translate_pixels)))


def _cutout(image: Image.Image, half: int, fill: Color, draw: Draw) -> Image.Image:
    """Fills a square of twice `half` pixels, cut off at the border."""
    x, y = draw.rng.integers(image.width + 1), draw.rng.integers(image.height + 1)
    image = image.copy()
    image.paste(fill, (x - half, y - half, x + half, y + half))
    return image


def _shear_x(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    return draw.affine(image, (1, draw.signed(0.3 * level), 0, 0, 1, 0))


def _shear_y(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    return draw.affine(image, (1, 0, 0, draw.signed(0.3 * level), 1, 0))


def _rotate(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    angle = math.radians(draw.signed(30 * level))
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = image.width / 2, image.height / 2
    return draw.affine(image, (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))


def _enhance(kind: type) -> Operation:
    """Factor 0.1 at level 0 to 1.9 at level 1."""
    return lambda image, level, draw: kind(image).enhance(0.1 + 1.8 * level)


def _enhance_increasing(kind: type) -> Operation:
    """Factor 1 (no change) at level 0 to 0.1 or 1.9 at level 1."""
    return lambda image, level, draw: kind(image).enhance(1 + draw.signed(0.9 * level))


OPERATIONS: "dict[str, Operation]" = {
    "AutoContrast": lambda image, level, draw: ImageOps.autocontrast(image),
    "Equalize": lambda image, level, draw: ImageOps.equalize(image),
    "Invert": lambda image, level, draw: ImageOps.invert(image),
    "Rotate": _rotate,
    "Posterize": lambda image, level, draw: _posterize(image, int(4 * level)),
    "PosterizeIncreasing": lambda image, level, draw: _posterize(image, 4 - int(4 * level)),
    "PosterizeMild": lambda image, level, draw: _posterize(image, round(8 - 4 * level)),
    "PosterizeMildest": lambda image, level, draw: _posterize(image, 8 - int(4 * level)),
    "PosterizeOriginal": lambda image, level, draw: _posterize(image, 4 + int(4 * level)),
    "Solarize": lambda image, level, draw: ImageOps.solarize(image, int(256 * level)),
    "SolarizeIncreasing": lambda image, level, draw: ImageOps.solarize(
        image, 256 - int(256 * level)
    ),
    "SolarizeAdd": _solarize_add,
    "Color": _enhance(ImageEnhance.Color),
    "ColorIncreasing": _enhance_increasing(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "ContrastIncreasing": _enhance_increasing(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "BrightnessIncreasing": _enhance_increasing(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "SharpnessIncreasing": _enhance_increasing(ImageEnhance.Sharpness),
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x_pixels,
    "TranslateY": _translate_y_pixels,
    "TranslateXRel": _translate_x,
    "TranslateYRel": _translate_y,
    "Cutout": lambda image, level, draw: _cutout(image, int(40 * level), draw.fill, draw),
    "CutoutSmall": lambda image, level, draw: _cutout(image, round(20 * level), _BLACK, draw),
}
