"""Operators on one image, and the pipeline that training, evaluation and deployments share.

An operator is called as `operator(image, rng)`. It takes and returns an array, (H, W, 3) uint8
until `NormalizeImage`, and does not change the one it is given. Deterministic operators ignore
`rng`, a `numpy.random.Generator`.
"""

from ppcls.data.transform import (  # noqa: F401  (registers the operators)
    auto_augment,
    color,
    crop,
    decode,
    erasing,
    normalize,
    orientation,
    resize,
)
from ppcls.data.transform.pipeline import Pipeline, build_transforms, complete_transforms

__all__ = ["Pipeline", "build_transforms", "complete_transforms"]
