"""Batches of images of different sizes, each about as many pixels."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from ppcls.config.types import PositiveInt
from ppcls.data.randomness import SampleKey, epoch_generator
from ppcls.data.sampler.order import BatchSampler, count_before, make_keys
from ppcls.errors import ConfigError
from ppcls.registry import SAMPLERS

# Sizes of the batches are drawn once for all epochs, so that epochs are equally long.
_BEFORE_ALL_EPOCHS = 2**32 - 1


class _Scale(NamedTuple):
    height: int
    width: int
    batch_size: int


@SAMPLERS.register()
class MultiScaleSampler(BatchSampler):
    """Every batch has an image size drawn from a list, and as many images as make up for it.

    The multi-scale training of MobileViT (Mehta and Rastegari 2021, arXiv:2110.02178). The size
    travels in the key of each sample to `MultiScaleDataset`; all processes have the same size and
    number of images in the same step. The sizes are drawn once and come in another order every
    epoch; the last batch is filled up from the start of the order.

    Args:
        dataset: a `MultiScaleDataset`.
        scales: sizes in pixels: sides of squares, or [width, height].
        first_bs: samples per batch and process of the first size; the others have as many as
            give the same number of pixels, at least one.
        divided_factor: in training, sides are rounded down to multiples of it.
        is_training: draw sizes, and a new order each epoch. Otherwise every batch has the first
            size, in the order of the dataset, and the last one is not filled up.
        seed, rank, world_size: from the engine.

    Raises:
        ConfigError: `scales` is empty, or a side is less than `divided_factor`.
    """

    def __init__(
        self,
        dataset: Any,
        scales: Union[list[PositiveInt], list[tuple[PositiveInt, PositiveInt]]],
        first_bs: PositiveInt,
        divided_factor: PositiveInt = 32,
        is_training: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(dataset), first_bs, False, seed, rank, world_size)
        self.is_training = is_training
        choices = _scales(scales, first_bs, divided_factor if is_training else None)
        if is_training:
            self.batches = self._draw_batches(choices)
        else:
            self.batches = [choices[0]] * super().__len__()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> "Iterator[list[SampleKey]]":
        epoch, batches = self.epoch, self.batches
        if self.is_training:
            rng = epoch_generator(self.seed, epoch)
            order = rng.permutation(self.length)
            batches = [batches[place] for place in rng.permutation(len(batches))]
            total = self.world_size * sum(batch.batch_size for batch in batches)
        else:
            order = np.arange(self.length)
            total = -(-self.length // self.world_size) * self.world_size
        order = np.resize(order, total)
        repeats = count_before(order)
        ends = self.world_size * np.cumsum([batch.batch_size for batch in batches])
        for batch, end in list(zip(batches, ends.tolist()))[self.start_step :]:
            first = end - self.world_size * batch.batch_size
            part = slice(first + self.rank, end, self.world_size)
            yield make_keys(epoch, order[part], repeats[part], (batch.height, batch.width))

    def _draw_batches(self, choices: "list[_Scale]") -> "list[_Scale]":
        rng = epoch_generator(self.seed, _BEFORE_ALL_EPOCHS)
        batches, missing = [], self.length
        while missing > 0:
            batches.append(choices[rng.integers(len(choices))])
            missing -= batches[-1].batch_size * self.world_size
        return batches


def _scales(scales: "list[Any]", first_bs: int, factor: Optional[int]) -> "list[_Scale]":
    if not scales:
        raise ConfigError("MultiScaleSampler: `scales` is empty; give at least one image size")
    sizes = [(scale, scale) if isinstance(scale, int) else tuple(scale) for scale in scales]
    pixels = sizes[0][0] * sizes[0][1] * first_bs
    choices = []
    for width, height in sizes:
        if factor is not None:
            if min(width, height) < factor:
                raise ConfigError(
                    f"MultiScaleSampler: scale {width}x{height} is less than "
                    f"divided_factor {factor}"
                )
            width, height = width // factor * factor, height // factor * factor
        choices.append(_Scale(height, width, max(1, pixels // (height * width))))
    return choices
