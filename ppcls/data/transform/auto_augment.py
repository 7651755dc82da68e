"""Random sequences of simple operations: RandAugment and AutoAugment."""

import re
from typing import Annotated, Literal, Optional

import numpy as np
from PIL import Image

from ppcls.config.types import Number, PositiveInt, Probability, Range
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.resize import Size
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS

_MAX_MAGNITUDE = 10.0
_GREY = (128, 128, 128)

_Value = Annotated[int, Range(0, 255)]
Fill = tuple[_Value, _Value, _Value]
Magnitude = Annotated[float, Range(0, _MAX_MAGNITUDE)]
TransformInterpolation = Literal["bilinear", "bicubic", "random"]

# Pillow transforms images with these two only.
_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "random": None,
}

_TIMM = (
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
_TIMM_INCREASING = tuple(
    f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in _TIMM
)


@TRANSFORMS.register()
class TimmAutoAugment:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719) as configured by a text of timm.

    Args:
        prob: how often the image is augmented at all.
        config_str: `rand` followed by sections joined with `-`: `m9` magnitude of 10, `n2`
            operations per image, `mstd0.5` standard deviation of the magnitude, `inc1` operations
            that grow with the magnitude. Each operation is applied half of the time.
        interpolation: of rotations, shears and translations; "random" draws one each time.
        img_size: accepted from PaddleClas; translations are relative to the image itself.
        mean: of the channels, in 0..1; fills what a rotation uncovers.
    """

    def __init__(
        self,
        prob: Probability = 1.0,
        config_str: str = "rand-m9-mstd0.5-inc1",
        interpolation: Optional[TransformInterpolation] = "bicubic",
        img_size: Size = 224,
        mean: tuple[Number, Number, Number] = (0.485, 0.456, 0.406),
    ):
        self.prob = prob
        self.resample = _RESAMPLE[interpolation or "random"]
        self.fill = tuple(min(255, round(255 * value)) for value in mean)
        settings = _parse_config(config_str)
        self.magnitude = settings.get("m", _MAX_MAGNITUDE)
        self.magnitude_std = settings.get("mstd", 0.0)
        self.num_layers = int(settings.get("n", 2))
        self.operations = _TIMM_INCREASING if settings.get("inc") else _TIMM

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        draw = Draw(rng, self.fill, self.resample)
        picture = Image.fromarray(image)
        for index in rng.integers(len(self.operations), size=self.num_layers):
            if rng.random() < 0.5:
                magnitude = rng.normal(self.magnitude, self.magnitude_std)
                level = min(max(magnitude / _MAX_MAGNITUDE, 0.0), 1.0)
                picture = OPERATIONS[self.operations[index]](picture, level, draw)
        return np.asarray(picture)


def _parse_config(text: str) -> "dict[str, float]":
    """`rand-m9-mstd0.5-inc1` to {"m": 9, "mstd": 0.5, "inc": 1}."""
    kind, *sections = text.split("-")
    matches = [re.fullmatch(r"(m|n|mstd|inc)(\d+(?:\.\d+)?)", section) for section in sections]
    if kind != "rand" or None in matches:
        raise ConfigError(
            f"TimmAutoAugment: config_str '{text}' is not understood; expected `rand` and sections "
            "m<number>, n<number>, mstd<number>, inc<0|1>, as in rand-m9-mstd0.5-inc1"
        )
    return {match.group(1): float(match.group(2)) for match in matches}


@TRANSFORMS.register()
class RandAugment:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719) with the operations of AutoAugment.

    Args:
        num_layers: operations per image.
        magnitude: of each operation, 0..10.
        fillcolor: fills what a rotation uncovers.
    """

    operations = (
        "ShearX",
        "ShearY",
        "TranslateXRel",
        "TranslateYRel",
        "Rotate",
        "ColorIncreasing",
        "Posterize",
        "Solarize",
        "ContrastIncreasing",
        "SharpnessIncreasing",
        "BrightnessIncreasing",
        "AutoContrast",
        "Equalize",
        "Invert",
    )

    def __init__(
        self,
        num_layers: PositiveInt = 2,
        magnitude: Magnitude = 5,
        fillcolor: Fill = _GREY,
    ):
        self.num_layers = num_layers
        self.level = magnitude / _MAX_MAGNITUDE
        self.fill = tuple(fillcolor)
        self.resample = Image.Resampling.BICUBIC

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = Draw(rng, self.fill, self.resample, _TRANSLATION)
        picture = Image.fromarray(image)
        for index in rng.integers(len(self.operations), size=self.num_layers):
            picture = OPERATIONS[self.operations[index]](picture, self.level, draw)
        return np.asarray(picture)


@TRANSFORMS.register()
class RandAugmentV3(RandAugment):
    """RandAugment as MobileViTv2 uses it: posterize and solarize grow with the magnitude.

    Args:
        num_layers: operations per image.
        magnitude: of each operation, 0..10.
        fillcolor: fills what a rotation uncovers.
        interpolation: of rotations, shears and translations.
    """

    operations = tuple(
        {"Posterize": "PosterizeMild", "Solarize": "SolarizeIncreasing"}.get(name, name)
        for name in RandAugment.operations
    )

    def __init__(
        self,
        num_layers: PositiveInt = 2,
        magnitude: Magnitude = 3,
        fillcolor: Fill = (0, 0, 0),
        interpolation: TransformInterpolation = "bicubic",
    ):
        super().__init__(num_layers, magnitude, fillcolor)
        self.resample = _RESAMPLE[interpolation]


@TRANSFORMS.register()
class AutoAugment:
    """The policy learned on ImageNet (Cubuk et al. 2018, arXiv:1805.09501, table 9).

    One of 25 pairs of operations, each applied with its own probability.

    Args:
        fillcolor: fills what a rotation uncovers.
    """

    def __init__(self, fillcolor: Fill = _GREY):
        self.fill = tuple(fillcolor)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = Draw(rng, self.fill, Image.Resampling.BICUBIC, _TRANSLATION)
        picture = Image.fromarray(image)
        for name, prob, level in _IMAGENET_POLICY[rng.integers(len(_IMAGENET_POLICY))]:
            if rng.random() < prob:
                picture = OPERATIONS[name](picture, level / _POLICY_LEVELS, draw)
        return np.asarray(picture)


# The longest translation of AutoAugment: 150 pixels of the 331 its images had.
_TRANSLATION = 150 / 331
_POLICY_LEVELS = 9
# Pairs of (operation, probability, level of 0..9).
_IMAGENET_POLICY = (
    (("PosterizeMild", 0.4, 8), ("Rotate", 0.6, 9)),
    (("SolarizeIncreasing", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("PosterizeMild", 0.6, 7), ("PosterizeMild", 0.6, 6)),
    (("Equalize", 0.4, 7), ("SolarizeIncreasing", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("SolarizeIncreasing", 0.6, 3), ("Equalize", 0.6, 7)),
    (("PosterizeMild", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("SolarizeIncreasing", 0.6, 8)),
    (("Equalize", 0.6, 8), ("PosterizeMild", 0.4, 6)),
    (("Rotate", 0.8, 8), ("ColorIncreasing", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("ColorIncreasing", 0.6, 4), ("ContrastIncreasing", 1.0, 8)),
    (("Rotate", 0.8, 8), ("ColorIncreasing", 1.0, 2)),
    (("ColorIncreasing", 0.8, 8), ("SolarizeIncreasing", 0.8, 7)),
    (("SharpnessIncreasing", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("ColorIncreasing", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("SolarizeIncreasing", 0.2, 4)),
    (("SolarizeIncreasing", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("ColorIncreasing", 0.6, 4), ("ContrastIncreasing", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)
