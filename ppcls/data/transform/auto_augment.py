"""AutoAugment and the RandAugment of several recipes."""

import copy
from typing import Annotated, Literal, Optional

import numpy as np
from PIL import Image

from ppcls.config.types import PositiveInt, Range
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.augment_policies import IMAGENET, variant
from ppcls.data.transform.pillow import to_pillow
from ppcls.data.transform.progress import stage
from ppcls.registry import TRANSFORMS

_MAX_MAGNITUDE = 10
_GREY = (128, 128, 128)
# The longest translation of AutoAugment: 150 pixels of the 331 its images had.
_TRANSLATION = 150 / 331

_Value = Annotated[int, Range(0, 255)]
Fill = tuple[_Value, _Value, _Value]
Magnitude = Annotated[float, Range(0, _MAX_MAGNITUDE)]
TransformInterpolation = Literal["bilinear", "bicubic", "random"]

#: None draws one of the two each time.
RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "random": None,
}


class _RandomOperations:
    """Some operations, equally likely, all of one level."""

    operations: "tuple[str, ...]" = ()

    def __init__(self, num_layers: int, magnitude: float, fill: "tuple[int, ...]"):
        self.num_layers = num_layers
        self.magnitude = magnitude
        self.fill = tuple(fill)
        self.resample: Optional[Image.Resampling] = Image.Resampling.BICUBIC

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = Draw(rng, self.fill, self.resample, _TRANSLATION)
        level = self.magnitude / _MAX_MAGNITUDE
        picture = to_pillow(image)
        for index in rng.integers(len(self.operations), size=self.num_layers):
            picture = OPERATIONS[self.operations[index]](picture, level, draw)
        return np.asarray(picture)


@TRANSFORMS.register()
class RandAugment(_RandomOperations):
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
        super().__init__(num_layers, magnitude, fillcolor)


@TRANSFORMS.register()
class RandAugmentV2(_RandomOperations):
    """RandAugment as EfficientNetV2 uses it (Tan & Le 2021, arXiv:2104.00298).

    Args:
        num_layers: operations per image.
        magnitude: of each operation, 0..10.
        progress_magnitude: magnitudes of equal parts of the training, first to last; they take
            the place of `magnitude`.
        fillcolor: fills what a rotation uncovers, and the squares of Cutout.
    """

    operations = (
        "ShearX",
        "ShearY",
        "TranslateX",
        "TranslateY",
        "Rotate",
        "Color",
        "Posterize",
        "Solarize",
        "SolarizeAdd",
        "Contrast",
        "Sharpness",
        "Brightness",
        "AutoContrast",
        "Equalize",
        "Invert",
        "Cutout",
    )

    def __init__(
        self,
        num_layers: PositiveInt = 2,
        magnitude: Magnitude = 5,
        progress_magnitude: Optional[list[Magnitude]] = None,
        fillcolor: Fill = _GREY,
    ):
        super().__init__(num_layers, magnitude, fillcolor)
        self.progress_magnitude = progress_magnitude
        self.resample = Image.Resampling.NEAREST

    def at_epoch(self, epoch: int, epochs: int) -> "RandAugmentV2":
        """The operator of an epoch; see `ppcls.data.transform.progress`."""
        if not self.progress_magnitude:
            return self
        operator = copy.copy(self)
        parts = self.progress_magnitude
        operator.magnitude = parts[stage(epoch, epochs, len(parts))]
        return operator


@TRANSFORMS.register()
class RandAugmentV3(_RandomOperations):
    """RandAugment as MobileViTv2 uses it: posterize and solarize grow with the magnitude.

    Args:
        num_layers: operations per image.
        magnitude: of each operation, 0..10.
        fillcolor: fills what a rotation uncovers.
        interpolation: of rotations, shears and translations.
    """

    operations = tuple(
        {"Posterize": "PosterizeMildest", "Solarize": "SolarizeIncreasing"}.get(name, name)
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
        self.resample = RESAMPLE[interpolation]


@TRANSFORMS.register()
class AutoAugment:
    """The policy learned on ImageNet (Cubuk et al. 2018, arXiv:1805.09501, table 9).

    One of 25 pairs of operations, each applied with its own probability.

    Args:
        fillcolor: fills what a rotation uncovers.
    """

    _LEVELS = 9
    _POLICY = variant(
        IMAGENET,
        Posterize="PosterizeMild",
        Solarize="SolarizeIncreasing",
        Color="ColorIncreasing",
        Contrast="ContrastIncreasing",
        Sharpness="SharpnessIncreasing",
    )

    def __init__(self, fillcolor: Fill = _GREY):
        self.fill = tuple(fillcolor)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = Draw(rng, self.fill, Image.Resampling.BICUBIC, _TRANSLATION)
        picture = to_pillow(image)
        for name, prob, level in self._POLICY[rng.integers(len(self._POLICY))]:
            if rng.random() < prob:
                picture = OPERATIONS[name](picture, level / self._LEVELS, draw)
        return np.asarray(picture)


@TRANSFORMS.register()
class RandAugmentV4:
    """RandAugment as ML-Decoder uses it: two operations, each half of the time.

    Their magnitudes are drawn from 1..9.
    """

    _operations = (
        *(
            {"Posterize": "PosterizeMild", "Solarize": "SolarizeIncreasing"}.get(name, name)
            for name in RandAugment.operations
        ),
        "CutoutSmall",
    )
    _LAYERS, _LEVELS = 2, 9

    def __init__(self) -> None:
        pass

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = Draw(rng, _GREY, Image.Resampling.BICUBIC, _TRANSLATION)
        picture = to_pillow(image)
        for index in rng.integers(len(self._operations), size=self._LAYERS):
            level = rng.integers(1, self._LEVELS + 1) / self._LEVELS
            if rng.random() < 0.5:
                picture = OPERATIONS[self._operations[index]](picture, level, draw)
        return np.asarray(picture)
