"""Augmentation configured by a text of timm: RandAugment, AutoAugment, AugMix."""

import re
from functools import partial
from typing import Any, Optional

import numpy as np
from PIL import Image

from ppcls.config.types import Number, Probability
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.augment_policies import IMAGENET, V0, Policy, variant
from ppcls.data.transform.augmix import mix_chains
from ppcls.data.transform.auto_augment import RESAMPLE, TransformInterpolation
from ppcls.data.transform.pillow import to_pillow
from ppcls.data.transform.resize import Size
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS

_MAX_MAGNITUDE = 10.0

_OPERATIONS = (
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
#: How likely each is with `w0`.
_WEIGHTS = np.array(
    [0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1]
)
_AUGMIX_OPERATIONS = (
    "AutoContrast",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "Equalize",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)


def _increasing(name: str) -> str:
    return f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name


class _Applier:
    """Applies operations by name, with a magnitude that varies around the one given."""

    def __init__(self, draw: Draw, magnitude_std: float):
        self.draw = draw
        self.magnitude_std = magnitude_std

    def __call__(self, picture: Image.Image, name: str, magnitude: float) -> Image.Image:
        magnitude = self.draw.rng.normal(magnitude, self.magnitude_std)
        level = min(max(magnitude / _MAX_MAGNITUDE, 0.0), 1.0)
        return OPERATIONS[name](picture, level, self.draw)


class _RandAugment:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719); each operation half of the time."""

    keys = {"m": float, "n": int, "w": int, "inc": int}
    translate_fraction = 0.45

    def __init__(self, m: float = 10, n: int = 2, w: Optional[int] = None, inc: int = 0):
        self.magnitude = m
        self.num_layers = n
        self.operations = tuple(map(_increasing, _OPERATIONS)) if inc else _OPERATIONS
        self.weights = None
        if w is not None:
            possible = np.count_nonzero(_WEIGHTS)
            if w != 0:
                raise ConfigError(f"there are weights w0 only, received w{w}")
            if n > possible:
                raise ConfigError(f"w0 chooses among {possible} operations, received n{n}")
            self.weights = _WEIGHTS / _WEIGHTS.sum()

    def __call__(self, image: np.ndarray, apply: _Applier) -> np.ndarray:
        rng = apply.draw.rng
        picture = to_pillow(image)
        for index in self._choose(rng):
            if rng.random() < 0.5:
                picture = apply(picture, self.operations[index], self.magnitude)
        return np.asarray(picture)

    def _choose(self, rng: np.random.Generator) -> np.ndarray:
        """Numbers of operations: with repetition, but not when they are weighted."""
        if self.weights is None:
            return rng.integers(len(self.operations), size=self.num_layers)
        return rng.choice(len(self.weights), self.num_layers, replace=False, p=self.weights)


class _AutoAugment:
    """One pair of a policy, each operation with its probability (arXiv:1805.09501)."""

    keys: "dict[str, type]" = {}
    translate_fraction = 0.45

    def __init__(self, policy: Policy):
        self.policy = policy

    def __call__(self, image: np.ndarray, apply: _Applier) -> np.ndarray:
        rng = apply.draw.rng
        picture = to_pillow(image)
        for name, prob, magnitude in self.policy[rng.integers(len(self.policy))]:
            if rng.random() < prob:
                picture = apply(picture, name, magnitude)
        return np.asarray(picture)


class _AugMix:
    """AugMix (Hendrycks et al. 2019, arXiv:1912.02781) with operations of colour."""

    keys = {"m": float, "w": int, "d": int, "a": float, "b": int}
    translate_fraction = 0.3

    def __init__(self, m: float = 3, w: int = 3, d: int = -1, a: float = 1.0, b: int = 0):
        if w == 0 or d == 0 or a == 0:
            raise ConfigError("w, d and a must be larger than 0")
        self.magnitude = m
        self.width = w
        self.depth = d
        self.alpha = a

    def __call__(self, image: np.ndarray, apply: _Applier) -> np.ndarray:
        rng = apply.draw.rng

        def operate(picture: Image.Image) -> Image.Image:
            name = _AUGMIX_OPERATIONS[rng.integers(len(_AUGMIX_OPERATIONS))]
            return apply(picture, name, self.magnitude)

        return mix_chains(image, operate, rng, self.alpha, self.width, self.depth)


_METHODS = {
    "rand": _RandAugment,
    "augmix": _AugMix,
    "original": partial(_AutoAugment, variant(IMAGENET, Posterize="PosterizeOriginal")),
    "originalr": partial(_AutoAugment, variant(IMAGENET, Posterize="PosterizeIncreasing")),
    "v0": partial(_AutoAugment, V0),
    "v0r": partial(_AutoAugment, variant(V0, Posterize="PosterizeIncreasing")),
}


@TRANSFORMS.register()
class TimmAutoAugment:
    """RandAugment, AutoAugment or AugMix as configured by a text of timm.

    The text is a name followed by sections joined with `-`, each a key and a number:

    - `rand`: `m9` magnitude (of 10), `n2` operations per image, `inc1` operations that grow with
      the magnitude, `w0` operations drawn with timm's weights; as in `rand-m9-mstd0.5-inc1`.
    - `original`, `originalr`, `v0`, `v0r`: policies of AutoAugment.
    - `augmix`: `m3` magnitude, `w3` chains, `d2` operations per chain (1 to 3 without it),
      `a1` concentration of the weights; `b` is accepted (there is one way of mixing here).
    - all of them: `mstd0.5` standard deviation of the magnitude.

    Args:
        prob: how often the image is augmented at all.
        config_str: the text.
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
        self.resample = RESAMPLE[interpolation or "random"]
        self.fill = tuple(min(255, round(255 * value)) for value in mean)
        self.method, self.magnitude_std = _parse_config(config_str)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        draw = Draw(rng, self.fill, self.resample, self.method.translate_fraction)
        return self.method(image, _Applier(draw, self.magnitude_std))


def _parse_config(text: str) -> "tuple[Any, float]":
    """The method that a text names, and the standard deviation of its magnitude.

    Raises:
        ConfigError: the text is not understood.
    """
    start = f"TimmAutoAugment: config_str '{text}' is not understood"
    name, *sections = text.split("-")
    if name not in _METHODS:
        raise ConfigError(f"{start}: it must begin with one of {', '.join(_METHODS)}")
    method = _METHODS[name]
    keys = {**getattr(method, "func", method).keys, "mstd": float}
    settings = {}
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
        key, number = (match.group(1), float(match.group(2))) if match else (None, 0.0)
        if key not in keys or (keys[key] is int and not number.is_integer()):
            known = ", ".join(f"{key}<{kind.__name__}>" for key, kind in keys.items())
            raise ConfigError(f"{start}: '{section}'; {name} takes {known}")
        settings[key] = keys[key](number)
    magnitude_std = settings.pop("mstd", 0.0)
    try:
        return method(**settings), magnitude_std
    except ConfigError as error:
        raise ConfigError(f"{start}: {error}") from None
