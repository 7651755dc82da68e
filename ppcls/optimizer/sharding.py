"""Optimizer state shared out over processes (ZeRO stage 1).

Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
https://arxiv.org/abs/1910.02054. Paddle's own `group_sharded_parallel` does this, and shares out
gradients and weights too, but on GPUs only, and its checkpoints depend on the number of processes;
this one gives the same bits as an optimizer that is not sharded, on every device.
"""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np
import paddle
import paddle.distributed as dist
from paddle.nn.clip import ClipGradBase


class ShardedOptimizer:
    """Each process updates its share of the parameters, and has the optimizer's state of those.

    Gradients must have been averaged over the processes, as `paddle.DataParallel` does. After each
    step the updated parameters are sent to all.

    Args:
        build: makes the optimizer of some parameters, without clipping.
        parameters: all that are trained, in the same order in all processes.
        grad_clip: clips the gradients of all of them together.
        rank, world_size: of this process.
    """

    def __init__(
        self,
        build: "Callable[[list[paddle.Tensor]], Any]",
        parameters: "Sequence[paddle.Tensor]",
        grad_clip: Optional[ClipGradBase],
        rank: int,
        world_size: int,
    ):
        self.parameters = list(parameters)
        self.grad_clip = grad_clip
        self.rank = rank
        self.shares = share_out(self.parameters, world_size)
        self._own_names = {parameter.name for parameter in self.shares[rank]}
        self.inner = build(self.shares[rank])

    def step(self) -> None:
        """Updates all parameters."""
        self._clip()
        self.inner.step()
        self._send()

    def clear_grad(self) -> None:
        """Makes all gradients zero."""
        for parameter in self.parameters:
            parameter.clear_gradient()

    def get_lr(self) -> float:
        """The rate of the next step."""
        return self.inner.get_lr()

    @paddle.no_grad()
    def _clip(self) -> None:
        if self.grad_clip is None:
            return
        pairs = [(p, p.grad) for p in self.parameters if p.grad is not None]
        for parameter, gradient in self.grad_clip(pairs):
            if parameter.name in self._own_names:
                paddle.assign(gradient, output=parameter.grad)

    @paddle.no_grad()
    def _send(self) -> None:
        for owner, share in enumerate(self.shares):
            for alike in _by_dtype(share):
                values = paddle.concat([paddle.reshape(p, [-1]) for p in alike])
                dist.broadcast(values, src=owner)
                if owner == self.rank:
                    continue
                sizes = [int(np.prod(p.shape)) for p in alike]
                for parameter, value in zip(alike, paddle.split(values, sizes)):
                    paddle.assign(paddle.reshape(value, parameter.shape), output=parameter)

    def state_dict(self) -> "dict[str, Any]":
        """The state of all processes, as one optimizer would have it; all must call this."""
        own = self.inner.state_dict()
        tensors = {k: v.numpy() for k, v in own.items() if isinstance(v, paddle.Tensor)}
        outlines: list[list[tuple[str, list[int], str]]] = []
        outline = [(key, list(value.shape), str(value.dtype)) for key, value in tensors.items()]
        dist.all_gather_object(outlines, outline)
        state = {key: value for key, value in own.items() if key not in tensors}
        for owner, outline in enumerate(outlines):
            for key, shape, dtype in outline:
                value = tensors[key] if owner == self.rank else np.zeros(shape, dtype)
                sent = paddle.to_tensor(value)
                dist.broadcast(sent, src=owner)
                state[key] = sent.cpu()
        return state

    def set_state_dict(self, state: "dict[str, Any]") -> None:
        """Takes its share of what `state_dict`, or that of an optimizer of all parameters, gave."""
        others = {p.name for p in self.parameters} - self._own_names
        foreign = tuple(f"{name}_" for name in others)
        self.inner.set_state_dict(
            {key: value for key, value in state.items() if not key.startswith(foreign)}
        )


def share_out(parameters: "Sequence[paddle.Tensor]", world_size: int) -> "list[list[Any]]":
    """The parameters of each process, about as many values each, the same in every process."""
    shares: list[list[Any]] = [[] for _ in range(world_size)]
    sizes = [0] * world_size
    # The largest first, each to who has least.
    for parameter in sorted(parameters, key=lambda p: -int(np.prod(p.shape))):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(parameter)
        sizes[smallest] += int(np.prod(parameter.shape))
    return shares


def _by_dtype(parameters: "Sequence[paddle.Tensor]") -> "list[list[paddle.Tensor]]":
    alike: dict[Any, list[paddle.Tensor]] = {}
    for parameter in parameters:
        alike.setdefault(parameter.dtype, []).append(parameter)
    return list(alike.values())
