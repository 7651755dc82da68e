"""Hiding parts of the image.

PaddleClas files put these operators before or after `ToCHWImage`; both layouts are understood.
"""

import math
from typing import Literal, Union

import numpy as np
from PIL import Image

from ppcls.config.types import Number, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS


def _rows_first(image: np.ndarray) -> np.ndarray:
    """A view (H, W, C) of an image that may be (C, H, W)."""
    is_channel_first = image.shape[0] in (3, 4) and image.shape[2] not in (3, 4)
    return image.transpose(1, 2, 0) if is_channel_first else image


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
        image_height, image_width, channels = _rows_first(image).shape
        for _ in range(self.attempt):
            height, width = self._draw_size(image_height * image_width, rng)
            if height < image_height and width < image_width:
                top = rng.integers(image_height - height + 1)
                left = rng.integers(image_width - width + 1)
                image = image.copy(order="K")  # NormalizeImage's planes stay planes.
                part = _rows_first(image)[top : top + height, left : left + width]
                part[...] = self._pixels(height, width, channels, rng)
                break
        return image

    def _draw_size(self, image_area: int, rng: np.random.Generator) -> "tuple[int, int]":
        area = rng.uniform(*self.area) * image_area
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
        return rng.standard_normal((channels, height, width), dtype=np.float32).transpose(1, 2, 0)


@TRANSFORMS.register()
class Cutout:
    """Sets squares around random points to a colour (DeVries & Taylor 2017, arXiv:1708.04552).

    Args:
        n_holes: how many.
        length: their side; parts outside the image are cut off.
        fill_value: the colour; null or "none" draws one per square from 0..255.
    """

    def __init__(
        self,
        n_holes: PositiveInt = 1,
        length: PositiveInt = 112,
        fill_value: Union[tuple[Number, Number, Number], Literal["none"], None] = (0, 0, 0),
    ):
        self.n_holes = n_holes
        self.half = length // 2
        self.fill_value = None if fill_value == "none" else fill_value

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        image = image.copy(order="K")
        pixels = _rows_first(image)
        height, width, channels = pixels.shape
        for _ in range(self.n_holes):
            y, x = rng.integers(height), rng.integers(width)
            fill = rng.integers(256, size=channels) if self.fill_value is None else self.fill_value
            rows = slice(max(y - self.half, 0), y + self.half)
            columns = slice(max(x - self.half, 0), x + self.half)
            pixels[rows, columns] = fill
        return image


@TRANSFORMS.register()
class HideAndSeek:
    """Sets half of the cells of a random grid to 0 (Singh & Lee 2017, arXiv:1704.04232).

    The cells are 16, 32, 44 or 56 pixels wide, or there is no grid, equally likely.
    """

    _CELLS = (0, 16, 32, 44, 56)

    def __init__(self) -> None:
        pass

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cell = self._CELLS[rng.integers(len(self._CELLS))]
        if cell == 0:
            return image
        image = image.copy(order="K")
        pixels = _rows_first(image)
        height, width = pixels.shape[:2]
        hidden = rng.random((-(-height // cell), -(-width // cell))) < 0.5
        hidden = hidden.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
        pixels[hidden] = 0
        return image


@TRANSFORMS.register()
class GridMask:
    """Sets a grid of bars to 0 (Chen et al. 2020, arXiv:2001.04086).

    Args:
        d1: smallest distance of the bars.
        d2: the distance is smaller than this.
        rotate: the grid is turned by less than this many whole degrees.
        ratio: width of the bars, relative to their distance.
        mode: 0 hides the bars and 1 everything else.
        prob: how often.
    """

    def __init__(
        self,
        d1: PositiveInt = 96,
        d2: PositiveInt = 224,
        rotate: PositiveInt = 1,
        ratio: Probability = 0.5,
        mode: Literal[0, 1] = 0,
        prob: Probability = 1.0,
    ):
        if d2 <= d1:
            raise ConfigError(f"GridMask: d2 must be larger than d1, received {d2} and {d1}")
        self.distances = (d1, d2)
        self.rotate = rotate
        self.ratio = ratio
        self.mode = mode
        self.prob = prob

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        image = image.copy(order="K")
        pixels = _rows_first(image)
        height, width = pixels.shape[:2]
        # Half as large again, so that turning uncovers no corner.
        large_height, large_width = int(1.5 * height), int(1.5 * width)
        distance = int(rng.integers(*self.distances))
        bar = int(distance * self.ratio + 0.5)
        in_row = (np.arange(large_height) - rng.integers(distance)) % distance < bar
        in_column = (np.arange(large_width) - rng.integers(distance)) % distance < bar
        mask = (in_row[:, None] | in_column[None, :]).astype(np.uint8)
        mask = np.asarray(Image.fromarray(mask).rotate(int(rng.integers(self.rotate))))
        top, left = (large_height - height) // 2, (large_width - width) // 2
        mask = mask[top : top + height, left : left + width]
        pixels[mask != self.mode] = 0
        return image
