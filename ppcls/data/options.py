"""Settings of the `loader` section of YAML."""

from dataclasses import dataclass

from ppcls.config.types import NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made; none of it changes what is in them."""

    #: Worker processes; 0 loads in the training process itself.
    num_workers: NonNegativeInt = 4
    #: Hand batches over in shared memory (Linux; elsewhere, and if false, through a pipe).
    use_shared_memory: bool = True
    #: Batches that each worker may be ahead.
    prefetch_factor: PositiveInt = 2
