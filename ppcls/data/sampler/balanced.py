"""Sampling by class frequency, for long-tailed data."""

from typing import Any

import numpy as np

from ppcls.config.types import PositiveInt, Probability
from ppcls.data.randomness import epoch_generator
from ppcls.data.sampler.order import BatchSampler
from ppcls.errors import ConfigError
from ppcls.registry import SAMPLERS


@SAMPLERS.register()
class ClassBalancedSampler(BatchSampler):
    """Draws rare classes more often than they occur.

    A sample of a class with n samples is drawn in proportion to `n ** -exponent`: 0 leaves the
    frequencies as they are, 1 draws every class equally often, 0.5 is square-root sampling
    (Kang et al. 2020, "Decoupling representation and classifier", arXiv:1910.09217). An epoch has
    as many draws as the dataset has samples. Each class gets its share exactly (rounded up or down
    by chance), and within a class no sample is drawn again before all others have been.

    Args:
        dataset: has `labels`, (N,) int.
        batch_size: samples per batch and process.
        drop_last: leave out what does not fill a global batch.
        exponent: of the inverse frequency.
        seed, rank, world_size: from the engine.

    Raises:
        ConfigError: images of the dataset have more than one label.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: PositiveInt = 1,
        drop_last: bool = False,
        exponent: Probability = 1.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(dataset), batch_size, drop_last, seed, rank, world_size)
        labels = np.asarray(dataset.labels)
        if labels.ndim != 1:
            raise ConfigError(
                "ClassBalancedSampler needs one label per image; this dataset has several"
            )
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        by_class = np.argsort(classes, kind="stable")
        self.members = np.split(by_class, np.cumsum(counts)[:-1])
        weights = counts ** (1.0 - exponent)
        self.expected = self.length * weights / max(weights.sum(), 1)

    def order(self, epoch: int) -> np.ndarray:
        rng = epoch_generator(self.seed, epoch)
        # Systematic sampling: every class gets its expected number rounded down or up, and the
        # chance of rounding up is the fraction, so that over many epochs the share is exact.
        edges = np.floor(np.concatenate([[0], np.cumsum(self.expected)]) + rng.random())
        edges[-1] = self.length + edges[0]
        draws = [
            _draw(members, int(count), rng) for members, count in zip(self.members, np.diff(edges))
        ]
        return rng.permutation(np.concatenate([*draws, np.zeros(0, dtype=np.int64)]))


def _draw(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `members`, each as often as any other, or once more."""
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)] or [members])[:count]
