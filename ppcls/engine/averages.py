"""Running averages that stay on the device until somebody reads them."""

from collections.abc import Callable, Mapping, Sequence

import paddle


class RunningAverages:
    """Averages named scalars weighted by the number of samples, without a device sync per update.

    All values live in one float32 tensor: a sum per name and, last, the weight.

    Args:
        names: of the values, the same in every process.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._sums = paddle.zeros([len(self.names) + 1], dtype="float32")

    def update(
        self, values: "Mapping[str, paddle.Tensor]", weight: int, only_finite: bool = False
    ) -> None:
        """Adds scalar tensors that are means over `weight` samples.

        With `only_finite` nothing is added where one of them is not a number.
        """
        scalars = [values[name].detach().astype("float32").reshape([1]) for name in self.names]
        ones = paddle.ones([1], dtype="float32")
        row = weight * paddle.concat([*scalars, ones])
        if only_finite:
            row = paddle.where(paddle.isfinite(row).all(), row, paddle.zeros_like(row))
        self._sums = self._sums + row

    def merge(self, reduce_sum: "Callable[[paddle.Tensor], paddle.Tensor]") -> None:
        """Replaces the sums by those over all processes; `reduce_sum` maps tensor to tensor."""
        self._sums = reduce_sum(self._sums)

    def compute(self) -> "dict[str, float]":
        """The averages; waits for the device."""
        *sums, weight = self._sums.tolist()
        return {name: value / max(weight, 1.0) for name, value in zip(self.names, sums)}

    def state(self) -> "list[float]":
        """The sums as plain numbers."""
        return self._sums.tolist()

    def load_state(self, sums: "list[float]") -> None:
        """Restores what `state` gave."""
        self._sums = paddle.to_tensor(sums, dtype="float32")
