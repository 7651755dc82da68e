"""From an order of samples to the batches of each process."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Optional

import numpy as np

from ppcls.data.randomness import SampleKey


class BatchSampler:
    """Cuts one order of samples, common to all processes, into batches that they share evenly.

    The global batch (all processes' batches of one step) is a stretch of the order, dealt out like
    cards. Where the order ends within a global batch, it starts again from its beginning until the
    processes can share evenly. A sample that comes again is another draw (`SampleKey.repeat`).

    A child says what the `order` of an epoch is.

    Args:
        length: samples of an epoch of all processes.
        batch_size: samples per batch and process.
        drop_last: leave out what does not fill a global batch.
        seed, rank, world_size: from the engine.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.length = length
        self.batch_size = batch_size
        self.drop_last = drop_last
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

    def order(self, epoch: int) -> np.ndarray:
        """Indices into the dataset, (length,) int64, the same in every process."""
        raise NotImplementedError

    def __iter__(self) -> "Iterator[list[SampleKey]]":
        epoch, order = self.epoch, self.order(self.epoch)
        shared = -(-self.length // self.world_size) * self.world_size
        order = np.resize(order, shared)
        repeats = count_before(order)
        global_batch = self.batch_size * self.world_size
        for step in range(self.start_step, len(self)):
            first = step * global_batch
            part = slice(first + self.rank, first + global_batch, self.world_size)
            yield make_keys(epoch, order[part], repeats[part])


def make_keys(
    epoch: int,
    indices: np.ndarray,
    repeats: np.ndarray,
    size: "Optional[tuple[int, int]]" = None,
) -> "list[SampleKey]":
    """The keys of one batch."""
    return [
        SampleKey(epoch, index, repeat, size)
        for index, repeat in zip(indices.tolist(), repeats.tolist())
    ]


def count_before(order: np.ndarray) -> np.ndarray:
    """How often each element occurs before its place.

    >>> count_before(np.array([7, 3, 7, 7]))
    array([0, 0, 1, 2])
    """
    by_value = np.argsort(order, kind="stable")
    values = order[by_value]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = values[1:] != values[:-1]
    places = np.arange(len(order))
    counts = np.empty(len(order), dtype=np.int64)
    counts[by_value] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return counts


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
