"""Repeated augmentation."""

from typing import Any

import numpy as np

from ppcls.config.types import PositiveInt
from ppcls.data.randomness import epoch_generator
from ppcls.data.sampler.order import BatchSampler
from ppcls.registry import SAMPLERS


class RASampler(BatchSampler):
    """Each chosen sample several times per epoch, with augmentations of its own each time.

    Repeated augmentation (Hoffer et al. 2020, "Augment your batch", arXiv:1901.09335; Berman et al.
    2019, arXiv:1902.05509), as DeiT uses it: the copies of a sample follow each other in the order,
    so that they are in the same global batch, on different processes. An epoch is as long as
    without repeats, so it shows `1/num_repeats` of the samples; all samples over many epochs.

    Args:
        dataset: anything with a length.
        batch_size: samples per batch and process.
        drop_last: leave out what does not fill a global batch.
        shuffle: a new order each epoch, which follows from (seed, epoch). Without it, the same
            first samples come every epoch.
        num_repeats: draws of a sample.
        selected_round: the samples of an epoch are rounded down to a multiple of this (unless there
            are fewer).
        seed, rank, world_size: from the engine.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: PositiveInt = 1,
        drop_last: bool = False,
        shuffle: bool = False,
        num_repeats: PositiveInt = 3,
        selected_round: PositiveInt = 256,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.dataset_length = len(dataset)
        rounded = self.dataset_length // selected_round * selected_round or self.dataset_length
        length = rounded // world_size * world_size or rounded
        super().__init__(length, batch_size, drop_last, seed, rank, world_size)
        self.shuffle = shuffle
        self.num_repeats = num_repeats

    def order(self, epoch: int) -> np.ndarray:
        order = np.arange(self.dataset_length)
        if self.shuffle:
            order = epoch_generator(self.seed, epoch).permutation(self.dataset_length)
        return np.repeat(order, self.num_repeats)[: self.length]


SAMPLERS.add("RASampler", RASampler)
SAMPLERS.add("RepeatedAugSampler", RASampler)  # Its other name in PaddleClas.
