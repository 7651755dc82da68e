"""Exponential moving average of a model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import paddle

from ppcls.errors import CheckpointError


class ExponentialMovingAverage:
    """Averages the parameters and persistable buffers of a model over its optimizer steps.

    average = decay * average + (1 - decay) * value, from the values at construction on, as
    PaddleClas does: no warm-up of the decay, and the statistics of batch norms are averaged too.
    Averages of floating-point tensors are float32 whatever the model computes in; integer buffers
    are copied.

    Args:
        model: the bare model, not wrapped for data parallelism.
        decay: weight of the past, in [0, 1].
    """

    @paddle.no_grad()
    def __init__(self, model: paddle.nn.Layer, decay: float = 0.9999):
        self.model = model
        self.decay = decay
        self._averages = {
            name: paddle.assign(_widened(tensor)) for name, tensor in self._tensors().items()
        }
        self._rate = paddle.to_tensor(1.0 - decay, dtype="float32")

    @paddle.no_grad()
    def update(self) -> None:
        """Takes the model's present values in; call once after each optimizer step."""
        tensors = self._tensors()
        for name, average in self._averages.items():
            value = _widened(tensors[name])
            if paddle.is_floating_point(average):
                average.lerp_(value, self._rate)
            else:
                paddle.assign(value, output=average)

    @contextmanager
    def average_weights(self) -> "Iterator[None]":
        """Within the `with` block the model holds the averages; then its own values again."""
        with paddle.no_grad():
            own = {name: paddle.assign(tensor) for name, tensor in self._tensors().items()}
        self._fill(self._averages)
        try:
            yield
        finally:
            self._fill(own)

    def state_dict(self) -> "dict[str, paddle.Tensor]":
        """The averages under the names of the model's state dict (PaddleClas's `.pdema`)."""
        return dict(self._averages)

    @paddle.no_grad()
    def set_state_dict(self, state: "Mapping[str, Any]") -> None:
        """Continues from averages that `state_dict` gave, as tensors or NumPy arrays.

        Raises:
            CheckpointError: names or shapes differ from the model's; lists them.
        """
        faults = [f"{name}: not in the model" for name in state if name not in self._averages]
        for name, average in self._averages.items():
            if name not in state:
                faults.append(f"{name}: missing")
            elif list(state[name].shape) != list(average.shape):
                shapes = f"{list(state[name].shape)}, not {list(average.shape)}"
                faults.append(f"{name}: shape {shapes}")
        if faults:
            raise CheckpointError(
                "the averaged weights (EMA) do not fit the model:\n  " + "\n  ".join(faults)
            )
        for name, average in self._averages.items():
            paddle.assign(paddle.cast(_as_tensor(state[name]), average.dtype), output=average)

    @paddle.no_grad()
    def _fill(self, values: "Mapping[str, paddle.Tensor]") -> None:
        for name, tensor in self._tensors().items():
            paddle.assign(paddle.cast(values[name], tensor.dtype), output=tensor)

    def _tensors(self) -> "dict[str, paddle.Tensor]":
        # Without hooks: mixed precision (O2) has one that gives copies instead of the tensors.
        return self.model.state_dict(use_hook=False)


def _widened(tensor: paddle.Tensor) -> paddle.Tensor:
    """The tensor, in float32 if it is a shorter float."""
    if tensor.dtype in (paddle.float16, paddle.bfloat16):
        return paddle.cast(tensor, "float32")
    return tensor


def _as_tensor(value: Any) -> paddle.Tensor:
    return value if isinstance(value, paddle.Tensor) else paddle.to_tensor(value)
