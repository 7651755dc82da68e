"""Which samples make up which batch, on which process."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ppcls.config.types import PositiveInt
from ppcls.data.randomness import SampleKey, epoch_generator
from ppcls.registry import SAMPLERS


@SAMPLERS.register()
class DistributedBatchSampler:
    """Every sample once per epoch, cut into batches that the processes share evenly.

    Each process gets as many batches of the same sizes: the global batch (all processes' batches
    of one step) is a stretch of one order, common to all processes. Without `drop_last`, the last
    one is filled up with samples from the start of the order until the processes can share it
    evenly; those are second draws (`SampleKey.repeat`) of their samples.

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
        self.length = len(dataset)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start_step = 0

    def __len__(self) -> int:
        """Batches of a whole epoch of this process."""
        batch = self.batch_size * self.world_size
        return self.length // batch if self.drop_last else -(-self.length // batch)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """The next iteration gives the batches of `epoch`, from number `start_step` on."""
        self.epoch = epoch
        self.start_step = start_step

    def __iter__(self) -> "Iterator[list[SampleKey]]":
        epoch = self.epoch
        if self.shuffle:
            order = epoch_generator(self.seed, epoch).permutation(self.length)
        else:
            order = range(self.length)
        global_batch = self.batch_size * self.world_size
        total = -(-self.length // self.world_size) * self.world_size
        for step in range(self.start_step, len(self)):
            first = step * global_batch
            last = min(first + global_batch, total)
            yield [
                SampleKey(epoch, int(order[position % self.length]), position // self.length)
                for position in range(first + self.rank, last, self.world_size)
            ]


class ShardedBatches:
    """Every `world_size`-th batch of a sampler made for one process.

    Evaluation: each sample is seen by exactly one process, exactly once, in the batches that a
    single process would see. Processes may differ by one batch, so they must not communicate
    before the end.
    """

    def __init__(self, sampler: Any, rank: int, world_size: int):
        self.sampler = sampler
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return len(range(self.rank, len(self.sampler), self.world_size))

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        self.sampler.set_epoch(epoch, start_step * self.world_size)

    def __iter__(self) -> "Iterator[list[SampleKey]]":
        return islice(self.sampler, self.rank, None, self.world_size)
