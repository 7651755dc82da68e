"""Every sample once per epoch."""

from typing import Any

import numpy as np

from ppcls.config.types import PositiveInt
from ppcls.data.randomness import epoch_generator
from ppcls.data.sampler.order import BatchSampler
from ppcls.registry import SAMPLERS


@SAMPLERS.register()
class DistributedBatchSampler(BatchSampler):
    """Every sample once per epoch, cut into batches that the processes share evenly.

    Args:
        dataset: anything with a length.
        batch_size: samples per batch and process.
        drop_last: leave out what does not fill a global batch.
        shuffle: a new order each epoch, which follows from (seed, epoch).
        seed, rank, world_size: from the engine.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: PositiveInt = 1,
        drop_last: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(dataset), batch_size, drop_last, seed, rank, world_size)
        self.shuffle = shuffle

    def order(self, epoch: int) -> np.ndarray:
        if self.shuffle:
            return epoch_generator(self.seed, epoch).permutation(self.length)
        return np.arange(self.length)
