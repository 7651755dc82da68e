"""Tensors on their way through a network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Optional

import paddle
from paddle import nn


class Probe(NamedTuple):
    """A place to read at: what goes into a sub-layer, or what comes out of it."""

    layer: nn.Layer
    part: Literal["input", "output"]


@contextmanager
def recording(probes: "Mapping[str, Probe]") -> "Iterator[dict[str, list[paddle.Tensor]]]":
    """Keeps what passes the probes as long as the context lasts: by key, in the order of calls.

    The tensors are those of the network itself, so that gradients reach them.
    """
    kept: dict[str, list[paddle.Tensor]] = {key: [] for key in probes}

    def keeper(key: str, part: str) -> Any:
        def hook(layer: nn.Layer, inputs: Any, output: Any) -> None:
            tensor = first_tensor(inputs if part == "input" else output)
            if tensor is not None:
                kept[key].append(tensor)

        return hook

    hooks = [
        probe.layer.register_forward_post_hook(keeper(key, probe.part))
        for key, probe in probes.items()
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def gradients(
    score: paddle.Tensor, tensors: "list[paddle.Tensor]"
) -> "list[Optional[paddle.Tensor]]":
    """What `score` changes by with each tensor; None for those it does not depend on.

    Parameters that are not frozen receive gradients too. (`paddle.grad` cannot be used: it fails
    where an operator in Python, a `PyLayer`, has parameters.)
    """
    found: list[Optional[paddle.Tensor]] = [None] * len(tensors)

    def keeper(place: int) -> Any:
        def hook(gradient: paddle.Tensor) -> None:
            found[place] = gradient.clone()

        return hook

    differentiable = [place for place, x in enumerate(tensors) if not x.stop_gradient]
    hooks = [tensors[place].register_hook(keeper(place)) for place in differentiable]
    score.backward()
    for hook in hooks:
        hook.remove()
    return found


def first_tensor(value: Any) -> Optional[paddle.Tensor]:
    """A tensor, or the first of a sequence."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value if isinstance(value, paddle.Tensor) else None
