"""Mixing the images of a batch with each other."""

from dataclasses import dataclass
from typing import Union

import numpy as np

from ppcls.config.types import Component, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import BATCH_TRANSFORMS


def one_hot(labels: np.ndarray, class_num: int) -> np.ndarray:
    """(B,) class ids to (B, class_num) float32."""
    encoded = np.zeros((len(labels), class_num), dtype=np.float32)
    encoded[np.arange(len(labels)), labels] = 1
    return encoded


def soft_labels(labels: np.ndarray, class_num: int) -> np.ndarray:
    """(B, class_num) float32 of class ids (B,); such rows stay as they are."""
    return one_hot(labels, class_num) if labels.ndim == 1 else labels


def mix_labels(labels: np.ndarray, order: np.ndarray, weight: float, class_num: int) -> np.ndarray:
    """`weight` of each label and the rest of the label of its partner, (B, class_num) float32.

    -1 in a row of several labels means unknown; so is what it is mixed with.
    """
    soft = soft_labels(labels, class_num)
    weight = np.float32(weight)
    mixed = weight * soft + (1 - weight) * soft[order]
    mixed[(soft < 0) | (soft[order] < 0)] = -1
    return mixed


def mix_images(
    images: np.ndarray, order: np.ndarray, weight: Union[np.floating, np.ndarray]
) -> None:
    """`weight * images + (1 - weight) * images[order]`, in place.

    Goes along the cycles of the permutation, so that a partner is read before it is overwritten
    and one image of each cycle is all that must be kept.

    Args:
        images: (B, C, H, W).
        order: permutation of 0..B-1.
        weight: one for all pixels, or (H, W).
    """
    part = np.empty_like(images[0])
    waiting = set(range(len(images)))
    while waiting:
        start = index = waiting.pop()
        first = images[start].copy()
        while True:
            partner = int(order[index])
            np.multiply(first if partner == start else images[partner], 1 - weight, out=part)
            images[index] *= weight
            images[index] += part
            if partner == start:
                break
            waiting.remove(partner)
            index = partner


@BATCH_TRANSFORMS.register()
class MixupOperator:
    """Mixup: `lam x_i + (1 - lam) x_j` (Zhang et al. 2017, arXiv:1710.09412).

    Args:
        class_num: number of classes.
        alpha: `lam` is drawn from Beta(alpha, alpha), once per batch.
    """

    def __init__(self, class_num: PositiveInt, alpha: PositiveFloat = 1.0):
        self.class_num = class_num
        self.alpha = alpha

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> "tuple[np.ndarray, np.ndarray]":
        order = rng.permutation(len(images))
        weight = np.float32(rng.beta(self.alpha, self.alpha))
        mix_images(images, order, weight)
        return images, mix_labels(labels, order, weight, self.class_num)


@BATCH_TRANSFORMS.register()
class CutmixOperator:
    """CutMix: a rectangle of another image (Yun et al. 2019, arXiv:1905.04899).

    Args:
        class_num: number of classes.
        alpha: the part that is kept is drawn from Beta(alpha, alpha), once per batch. Labels are
            mixed by the area really pasted, as the rectangle may reach over the border.
    """

    def __init__(self, class_num: PositiveInt, alpha: PositiveFloat = 0.2):
        self.class_num = class_num
        self.alpha = alpha

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> "tuple[np.ndarray, np.ndarray]":
        height, width = images.shape[2:]
        order = rng.permutation(len(images))
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        top, bottom = _interval(height, side, rng)
        left, right = _interval(width, side, rng)
        images[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][order]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return images, mix_labels(labels, order, kept, self.class_num)


def _interval(length: int, part: float, rng: np.random.Generator) -> "tuple[int, int]":
    """A stretch of `part` of `length` around a random centre, cut at the ends."""
    half = int(length * part) // 2
    center = int(rng.integers(length))
    return max(center - half, 0), min(center + half, length)


@dataclass(frozen=True)
class SampledOptions:
    """What an operator of `OpSampler` has beside its own arguments."""

    #: How often the operator is applied.
    prob: Probability


@BATCH_TRANSFORMS.register()
class OpSampler:
    """Applies one of several operators, or none.

    YAML: `OpSampler: {MixupOperator: {alpha: 0.8, prob: 0.5}, CutmixOperator: {...}}`. `prob` is
    how often the operator is applied; what they leave of 1 is how often none is.

    Args:
        class_num: number of classes.
        operators: arguments of each operator and its `prob`, by name.

    Raises:
        ConfigError: the `prob` of the operators sum to more than 1.
    """

    def __init__(
        self, class_num: PositiveInt, **operators: Component("batch transform", SampledOptions)
    ):
        self.class_num = class_num
        self.operators, self.probabilities = [], []
        for name, arguments in operators.items():
            arguments = dict(arguments)
            self.probabilities.append(arguments.pop("prob"))
            self.operators.append(BATCH_TRANSFORMS.build({name: arguments}, class_num=class_num))
        if sum(self.probabilities) > 1 + 1e-9:
            raise ConfigError(
                f"OpSampler: the `prob` of its operators sum to {sum(self.probabilities):g}; "
                "they must not exceed 1"
            )

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> "tuple[np.ndarray, np.ndarray]":
        draw = rng.random()
        for operator, probability in zip(self.operators, self.probabilities):
            draw -= probability
            if draw < 0:
                return operator(images, labels, rng)
        return images, soft_labels(labels, self.class_num)
