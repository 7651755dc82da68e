"""How far from the output each parameter of a model is, counted in layers.

One rule serves every model. It is cut into layers: the elements of its numbered lists (the blocks)
and each part beside them (patch embeddings, downsampling, norms). A numbered list is a `LayerList`
or `Sequential` whose elements have layers of their own; lists in lists are cut further, and so are
stages, which hold such a list and at most one part beside it, and whatever holds more than half of
the model's parameters. Layers are counted in the order in which an image passes them; what it does
not pass (heads that are used in training only) stands behind what is defined before it. Norms, and
all else that has only vectors, count with the layer after them. The layers that depend on the
number of classes are one, the last. Parameters outside of the layers (tables of positions, tokens)
count with the first layer of what holds them.

For a plain vision transformer these are the layers of BEiT (Bao et al. 2021,
https://arxiv.org/abs/2106.08254): the embeddings, each block, the final norm with the head.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import paddle
from paddle import nn

from ppcls.errors import ConfigError
from ppcls.utils.layer_names import is_within


def distances_to_output(model: nn.Layer, image_shape: "Sequence[int]") -> "dict[str, int]":
    """Parameter (by its name in the model) -> number of layers after the one that it is in.

    Parameters that are not trained are left out, and layers without trained ones do not count.
    The models of a composition are counted apart.

    Args:
        model: the bare model.
        image_shape: (C, H, W) of an image that the model takes.

    Raises:
        ConfigError: the model does not take such an image.
    """
    order = _order_of_calls(model, image_shape)
    distances: dict[str, int] = {}
    for prefix, network in _networks(model):
        distances.update(_distances(network, prefix, order))
    return distances


def _networks(model: nn.Layer) -> "list[tuple[str, nn.Layer]]":
    """The models of a composition with the beginning of their names, or the model itself."""
    names = getattr(model, "model_names", None)
    if names is None:
        return [("", model)]
    return [(f"{name}.", model[name]) for name in names]


def _order_of_calls(model: nn.Layer, image_shape: "Sequence[int]") -> "dict[str, int]":
    """Sub-layer -> when it was first called, for the sub-layers that an image passes."""
    order: dict[str, int] = {}

    def watch(name: str, layer: nn.Layer) -> Any:
        def note(layer: nn.Layer, inputs: Any) -> None:
            order.setdefault(name, len(order))

        return layer.register_forward_pre_hook(note)

    hooks = [watch(name, layer) for name, layer in model.named_sublayers()]
    was_training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, *image_shape]))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"Optimizer.layer_decay: the layers are counted with an image of Global.image_shape = "
            f"{list(image_shape)}, which the model does not take ({error})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        if was_training:
            model.train()
    return order


def _distances(network: nn.Layer, prefix: str, order: "dict[str, int]") -> "dict[str, int]":
    trained = {n: p for n, p in network.named_parameters() if not p.stop_gradient}
    heads = getattr(network, "head_layers", ())
    parts = {part: [] for part in _parts(network, "", len(network.parameters()) / 2)}
    head, loose = [], []
    for name in trained:
        part = next((part for part in parts if name.startswith(f"{part}.")), None)
        if any(is_within(name, pattern) for pattern in heads):
            head.append(name)
        elif part is None:
            loose.append(name)
        else:
            parts[part].append(name)
    called = _times(parts, prefix, order)
    ordered = [parts[part] for part in sorted(parts, key=called.__getitem__)]
    layer_of = _number([*ordered, head], trained)
    for name in loose:
        holder = name.rpartition(".")[0]
        inside = [layer for other, layer in layer_of.items() if is_within(other, holder or "*")]
        layer_of[name] = min(inside, default=0)
    last = max(layer_of.values(), default=0)
    return {prefix + name: last - layer for name, layer in layer_of.items()}


def _parts(layer: nn.Layer, name: str, half: float) -> "list[str]":
    """Names of the parts that a model or layer is cut into, in order of definition."""
    parts = []
    for key, child in _with_parameters(layer):
        inner = f"{name}.{key}" if name else key
        is_cut = _is_list_of_blocks(child) or _is_stage(child) or len(child.parameters()) > half
        parts += _parts(child, inner, half) if is_cut and _with_parameters(child) else [inner]
    return parts


def _with_parameters(layer: nn.Layer) -> "list[tuple[str, nn.Layer]]":
    return [
        (name, child)
        for name, child in layer.named_children()
        if child.parameters() and not isinstance(child, nn.ParameterList)
    ]


def _is_list_of_blocks(layer: nn.Layer) -> bool:
    is_list = isinstance(layer, (nn.LayerList, nn.Sequential))
    return is_list and any(_with_parameters(child) for _, child in _with_parameters(layer))


def _is_stage(layer: nn.Layer) -> bool:
    children = _with_parameters(layer)
    lists = sum(_is_list_of_blocks(child) for _, child in children)
    return lists > 0 and len(children) - lists <= 1


def _times(parts: "Iterable[str]", prefix: str, order: "dict[str, int]") -> "dict[str, int]":
    """When each part, or the first layer in it, was called."""
    times: dict[str, int] = {}
    before = 0
    for part in parts:
        name = prefix + part
        calls = [time for layer, time in order.items() if is_within(layer, name)]
        before = times[part] = min(calls, default=before)
    return times


def _number(parts: "list[list[str]]", parameters: "dict[str, paddle.Tensor]") -> "dict[str, int]":
    """Parameter -> number of its layer, of parts in their order; those without parameters do not
    count, those with vectors only count with the next."""
    layer_of: dict[str, int] = {}
    layer, last = 0, 0
    for names in parts:
        layer_of.update(dict.fromkeys(names, layer))
        if any(parameters[name].ndim > 1 for name in names):
            last, layer = layer, layer + 1
    return {name: min(layer, last) for name, layer in layer_of.items()}
