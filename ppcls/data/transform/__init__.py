"""Operators on one image, and the pipeline that training, evaluation and deployments share.

An operator is called as `operator(image, rng)`. It takes and returns an array, (H, W, 3) uint8
until `NormalizeImage`, and does not change the one it is given. Deterministic operators ignore
`rng`, a `numpy.random.Generator`. Operators that change in the course of training have a method
`at_epoch`; see `progress`.
"""

from ppcls.data.transform import (  # noqa: F401  (registers the operators)
    augmix,
    auto_augment,
    blur,
    color,
    crop,
    decode,
    erasing,
    normalize,
    orientation,
    pad,
    resize,
    timm_augment,
)
from ppcls.data.transform.pipeline import Pipeline, build_transforms, complete_transforms

__all__ = ["Pipeline", "build_transforms", "complete_transforms"]
