"""Random sequences of simple operations: RandAugment in timm's form."""

import re
from typing import Literal, Optional

import numpy as np
from PIL import Image

from ppcls.config.types import Number, Probability
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.resize import Size
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS

_MAX_LEVEL = 10.0

_RAND = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
_INCREASING = tuple(
    f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in _RAND
)
_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    # Pillow transforms images with these two only; timm asks for others and gets an error.
    "random": None,
}


@TRANSFORMS.register()
class TimmAutoAugment:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719) as configured by a text of timm.

    Args:
        prob: how often the image is augmented at all.
        config_str: `rand` followed by sections joined with `-`: `m9` magnitude of 10, `n2`
            operations per image, `mstd0.5` standard deviation of the magnitude, `inc1` operations
            that grow with the magnitude. Each operation is applied half of the time.
        interpolation: of rotations, shears and translations.
        img_size: accepted from PaddleClas; translations are relative to the image itself.
        mean: of the channels, in 0..1; fills what a rotation uncovers.
    """

    def __init__(
        self,
        prob: Probability = 1.0,
        config_str: str = "rand-m9-mstd0.5-inc1",
        interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic",
        img_size: Size = 224,
        mean: Optional[tuple[Number, Number, Number]] = (0.485, 0.456, 0.406),
    ):
        self.prob = prob
        self.resample = _RESAMPLE[interpolation]
        self.fill = tuple(min(255, round(255 * value)) for value in mean)
        settings = _parse_config(config_str)
        self.magnitude = settings.get("m", _MAX_LEVEL)
        self.magnitude_std = settings.get("mstd", 0.0)
        self.num_layers = int(settings.get("n", 2))
        self.operations = _INCREASING if settings.get("inc") else _RAND

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        draw = Draw(rng, self.fill, self.resample)
        picture = Image.fromarray(image)
        for index in rng.integers(len(self.operations), size=self.num_layers):
            if rng.random() < 0.5:
                level = rng.normal(self.magnitude, self.magnitude_std) / _MAX_LEVEL
                level = min(max(level, 0.0), 1.0)
                picture = OPERATIONS[self.operations[index]](picture, level, draw)
        return np.asarray(picture)


def _parse_config(text: str) -> "dict[str, float]":
    """`rand-m9-mstd0.5-inc1` to {"m": 9, "mstd": 0.5, "inc": 1}."""
    kind, *sections = text.split("-")
    settings = {}
    for section in sections:
        match = re.fullmatch(r"(m|n|mstd|inc)(\d+(?:\.\d+)?)", section)
        if match is None:
            kind = None
            break
        settings[match.group(1)] = float(match.group(2))
    if kind != "rand":
        raise ConfigError(
            f"TimmAutoAugment: config_str '{text}' is not understood; expected `rand` and sections "
            "m<number>, n<number>, mstd<number>, inc<0|1>, as in rand-m9-mstd0.5-inc1"
        )
    return settings
