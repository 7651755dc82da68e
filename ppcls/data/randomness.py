"""Generators that follow from (seed, epoch, index), so that nothing depends on who loads a sample.

The key goes into the counter of Philox (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"), whose streams with different counters are independent: one generator costs about 20 us,
and there is no state to save for a resumed run.
"""

from typing import NamedTuple, Optional

import numpy as np

_SAMPLE, _BATCH, _EPOCH = 0, 1, 2


class SampleKey(NamedTuple):
    """Names one draw of one sample.

    `repeat` tells draws of the same sample within an epoch apart (repeated augmentation). `size` is
    the (height, width) that a multi-scale dataset shall give; the others ignore it.
    """

    epoch: int
    index: int
    repeat: int = 0
    size: "Optional[tuple[int, int]]" = None


def sample_generator(seed: int, key: SampleKey) -> np.random.Generator:
    """The generator of the transforms of one sample."""
    return _generator(seed, key, _SAMPLE)


def batch_generator(seed: int, first: SampleKey) -> np.random.Generator:
    """The generator of the batch operators of the batch whose first key is `first`."""
    return _generator(seed, first, _BATCH)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator of the order of an epoch."""
    return _generator(seed, SampleKey(epoch, 0), _EPOCH)


def _generator(seed: int, key: SampleKey, purpose: int) -> np.random.Generator:
    # The lowest word of the counter counts draws; purpose and repeat share the highest.
    counter = (0, key.index, key.epoch, key.repeat << 8 | purpose)
    return np.random.Generator(np.random.Philox(counter=counter, key=seed))
