"""The sub-layer whose map Grad-CAM explains."""

import re
from collections.abc import Sequence
from typing import Optional

import paddle
from paddle import nn

from ppcls.arch.base import Model
from ppcls.errors import ConfigError, did_you_mean
from ppcls.loss.base import main_logits
from ppcls.visualization.maps import as_map, token_grid
from ppcls.visualization.recording import Probe, gradients, recording

#: Their outputs are no features: weights of attention, and copies.
_NO_FEATURES = (nn.Dropout, nn.Softmax, nn.Identity)
_MOST_LISTED = 40


def map_layers(model: nn.Layer, image: paddle.Tensor) -> "dict[str, list[int]]":
    """Names of all sub-layers that give a map, with its shape (C, h, w), in the order they end.

    Args:
        image: (1, C, H, W).
    """
    return {
        name: list(as_map(tensor, image.shape[2:]).shape[1:])
        for name, tensor in _maps(model, image)[0].items()
    }


def find_target_layer(model: nn.Layer, image: paddle.Tensor, name: Optional[str] = None) -> str:
    """The full name of a sub-layer that gives a map of more than one position.

    Args:
        image: (1, C, H, W).
        name: as Python writes it, `blocks4[0]`, or as in the state dict, `blocks4.0`; a list of
            layers stands for its last. None chooses the last map that the logits depend on
            everywhere.

    Raises:
        ConfigError: the name is no such sub-layer; lists those that are.
    """
    tensors, logits = _maps(model, image)
    if name is not None:
        return _named(model, name, tensors, image.shape[2:])
    found = gradients(paddle.max(logits), list(tensors.values()))
    reached = [name for name, gradient in zip(tensors, found) if gradient is not None]
    if not reached:
        raise ConfigError(
            f"{type(model).__name__} has no sub-layer that gives a map on which the logits depend: "
            "Grad-CAM cannot explain it"
        )
    size = image.shape[2:]
    felt = [
        name
        for name, gradient in zip(tensors, found)
        if gradient is not None and _is_felt_everywhere(gradient, size)
    ]
    if isinstance(model, Model):
        # What a class token reads in the end follows the map that all of ours have.
        chosen = [name for name in felt if not _has_class_token(tensors[name], size)]
    else:
        # The norm before the last attention rather than its projections, as is usual.
        layers = dict(model.named_sublayers())
        chosen = [name for name in felt if not isinstance(layers[name], nn.Linear)]
    return (chosen or reached)[-1]


def _has_class_token(tensor: paddle.Tensor, size: Sequence[int]) -> bool:
    return tensor.ndim == 3 and token_grid(tensor.shape[1], size).extra > 0


def _is_felt_everywhere(gradient: paddle.Tensor, size: Sequence[int]) -> bool:
    """Not so where only a class token, or the best of the positions, is read."""
    strength = paddle.sum(paddle.abs(as_map(gradient, size)), axis=1)
    return bool(paddle.mean(paddle.cast(strength > 0, "float32")) > 0.5)


def _maps(
    model: nn.Layer, image: paddle.Tensor
) -> "tuple[dict[str, paddle.Tensor], paddle.Tensor]":
    """What sub-layers give that are maps of more than one position, and the logits."""
    image = image.detach()
    image.stop_gradient = False
    order: list[str] = []
    probes = {
        name: Probe(layer, "output")
        for name, layer in model.named_sublayers()
        if not isinstance(layer, _NO_FEATURES)
    }
    marks = [
        probe.layer.register_forward_post_hook(lambda *_, name=name: order.append(name))
        for name, probe in probes.items()
    ]
    try:
        with recording(probes) as kept:
            logits = main_logits(model(image))
    finally:
        for mark in marks:
            mark.remove()
    maps = {}
    for name in order:
        # A layer that is called several times gives its last map.
        tensor = kept[name][-1] if kept[name] else None
        as_one = None if tensor is None else as_map(tensor, image.shape[2:])
        if as_one is not None and as_one.shape[2] * as_one.shape[3] > 1:
            maps.pop(name, None)
            maps[name] = tensor
    return maps, logits


def _named(
    model: nn.Layer, name: str, tensors: "dict[str, paddle.Tensor]", size: Sequence[int]
) -> str:
    layers = dict(model.named_sublayers())
    wanted = re.sub(r"\[(\d+)\]", r".\1", name)
    while isinstance(layers.get(wanted), nn.LayerList):
        wanted = f"{wanted}.{len(layers[wanted]) - 1}"
    if wanted in tensors:
        return wanted
    shallow = sorted(tensors, key=lambda candidate: (candidate.count("."), candidate))
    listed = [candidate for candidate in tensors if candidate in shallow[:_MOST_LISTED]]
    lines = [f"  {n}  {'x'.join(map(str, as_map(tensors[n], size).shape[1:]))}" for n in listed]
    rest = len(tensors) - len(listed)
    what = "gives no map of more than one position" if wanted in layers else "does not exist"
    raise ConfigError(
        f"the sub-layer '{name}' of {type(model).__name__} {what}{did_you_mean(wanted, tensors)}. "
        + "These give maps (channels x height x width):\n"
        + "\n".join(lines)
        + (f"\n  and {rest} sub-layers of these" if rest else "")
    )
