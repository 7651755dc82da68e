"""The protocol of a metric."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Optional

import paddle

from ppcls.registry import METRICS


class Metric(ABC):
    """A metric that is a function of sums over samples.

    The sums live in one small tensor on the device: `update` adds to them and never waits for the
    device, `compute` reads them. Under sharding every process adds up its own samples; the sum of
    their `state` tensors, given to `load_state`, makes `compute` exact:

        metric.load_state(all_reduce(metric.state()))

    Subclasses implement `update`, which adds to `self._sums`, and `compute`. `reduce` is how an
    evaluation does that.
    """

    #: Whether a model with larger values is the better one.
    higher_is_better = True

    def __init__(self, sums: int, dtype: str):
        self._zeros = paddle.zeros([sums], dtype=dtype)
        self._sums = self._zeros

    @abstractmethod
    def update(self, outputs: Any, labels: paddle.Tensor) -> None:
        """Adds one batch: what the model returned, and labels (B,) int64 or (B, C) float32."""

    @abstractmethod
    def compute(self) -> "dict[str, float]":
        """The values by name, over all samples since `reset`; empty when there were none."""

    def reset(self) -> None:
        """Forgets all samples."""
        self._sums = self._zeros

    def state(self) -> paddle.Tensor:
        """A copy of the sums; the states of disjoint sets of samples add up."""
        return paddle.clone(self._sums)

    def load_state(self, state: paddle.Tensor) -> None:
        """Replaces the sums."""
        self._sums = paddle.clone(state)

    def merge(self, state: paddle.Tensor) -> None:
        """Adds the samples behind another metric's `state`."""
        self._sums = self._sums + state

    def reduce(
        self, total: "Callable[[paddle.Tensor], paddle.Tensor]", rank: int, world_size: int
    ) -> None:
        """Takes in the samples of all processes; every process calls it.

        Args:
            total: gives the sum of a tensor over the processes, in each of them.
            rank: number of this process.
            world_size: number of processes.
        """
        self.load_state(total(self.state()))


def build_metrics(specs: Optional[Sequence[Any]]) -> "list[Metric]":
    """The metrics of `Metric.Train` or `Metric.Eval`; none for an absent list."""
    return [METRICS.build(spec) for spec in specs or ()]
