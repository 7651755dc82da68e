"""Which samples make up which batch, on which process.

A sampler yields lists of `SampleKey`. `len` is the number of batches of a process, every epoch the
same; `set_epoch(epoch, start_step)` chooses what the next iteration gives. All of it follows from
(seed, epoch), and every process has as many batches of the same sizes.
"""

from ppcls.data.sampler.balanced import ClassBalancedSampler
from ppcls.data.sampler.distributed import DistributedBatchSampler
from ppcls.data.sampler.multi_scale import MultiScaleSampler
from ppcls.data.sampler.order import ShardedBatches
from ppcls.data.sampler.repeated import RASampler

__all__ = [
    "ClassBalancedSampler",
    "DistributedBatchSampler",
    "MultiScaleSampler",
    "RASampler",
    "ShardedBatches",
]
