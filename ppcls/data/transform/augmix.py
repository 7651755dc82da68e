"""AugMix: an image mixed with several augmented copies of itself."""

from typing import Annotated, Callable, Union

import numpy as np
from PIL import Image

from ppcls.config.types import PositiveFloat, PositiveInt, Probability, Range
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.pillow import to_pillow
from ppcls.registry import TRANSFORMS

#: Operations per chain; -1 draws 1, 2 or 3.
Depth = Union[PositiveInt, Annotated[int, Range(-1, -1)]]

_OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "PosterizeIncreasing",
    "Rotate",
    "SolarizeIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)


def mix_chains(
    image: np.ndarray,
    operate: Callable[[Image.Image], Image.Image],
    rng: np.random.Generator,
    alpha: float,
    width: int,
    depth: int,
) -> np.ndarray:
    """`(1 - m) x + m sum_i w_i chain_i(x)` (Hendrycks et al. 2019, arXiv:1912.02781).

    Args:
        image: (H, W, 3) uint8.
        operate: applies one random operation.
        rng: of the weights, w ~ Dirichlet(alpha, ...) and m ~ Beta(alpha, alpha).
        alpha: concentration of both.
        width: number of chains.
        depth: operations per chain, or -1.
    """
    weights = rng.dirichlet([alpha] * width)
    part = rng.beta(alpha, alpha)
    picture = to_pillow(image)
    mixed = image * np.float32(1 - part)
    for weight in weights:
        chain = picture
        for _ in range(depth if depth > 0 else rng.integers(1, 4)):
            chain = operate(chain)
        mixed += np.float32(part * weight) * np.asarray(chain)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


@TRANSFORMS.register()
class AugMix:
    """AugMix (Hendrycks et al. 2019, arXiv:1912.02781); what is uncovered becomes black.

    Args:
        prob: how often.
        aug_prob_coeff: concentration of the distributions of the weights.
        mixture_width: number of augmented copies.
        mixture_depth: operations per copy; -1 draws 1, 2 or 3.
        aug_severity: the magnitude of each operation is drawn from 0.1..aug_severity, out of 10.
    """

    def __init__(
        self,
        prob: Probability = 0.5,
        aug_prob_coeff: PositiveFloat = 0.1,
        mixture_width: PositiveInt = 3,
        mixture_depth: Depth = 1,
        aug_severity: Annotated[float, Range(0.1, 10)] = 1,
    ):
        self.prob = prob
        self.alpha = aug_prob_coeff
        self.width = mixture_width
        self.depth = mixture_depth
        self.severity = aug_severity

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        draw = Draw(rng, (0, 0, 0), Image.Resampling.BILINEAR, translate_fraction=1 / 3)

        def operate(picture: Image.Image) -> Image.Image:
            name = _OPERATIONS[rng.integers(len(_OPERATIONS))]
            return OPERATIONS[name](picture, rng.uniform(0.1, self.severity) / 10, draw)

        return mix_chains(image, operate, rng, self.alpha, self.width, self.depth)
