"""Parts of a model that training leaves as they are."""

from collections.abc import Sequence
from typing import Any

from paddle import nn

from ppcls.errors import ConfigError, did_you_mean
from ppcls.utils.layer_names import is_within, outermost
from ppcls.utils.logger import logger


def freeze(model: nn.Layer, patterns: Sequence[str]) -> None:
    """Freezes layers: no gradients, and evaluation mode even in training.

    So batch norms keep the statistics they were trained with, and nothing is dropped.

    Args:
        patterns: names of sub-layers or parameters with all below them, e.g. `blocks1`,
            `blocks?.0`, `patch_embed*`; `*` freezes everything.

    Raises:
        ConfigError: nothing in the model is called so.
    """
    layers = dict(model.named_sublayers())
    parameters = dict(model.named_parameters())
    frozen: set[str] = set()
    for pattern in patterns:
        found = {name for name in (*layers, *parameters) if is_within(name, pattern)}
        if not found:
            names = outermost([*layers, *parameters])
            raise ConfigError(
                f"Arch.freeze: no layer or parameter of {type(model).__name__} is called "
                f"'{pattern}'{did_you_mean(pattern, names)}; its parts are "
                f"{', '.join(names)}"
            )
        frozen |= found
    _freeze(layers, parameters, frozen)


def freeze_all_but_head(model: nn.Layer) -> None:
    """Linear probing: only the layers that make logits of features are trained.

    Raises:
        ConfigError: the model does not say which they are.
    """
    heads = getattr(model, "head_layers", None)
    if heads is None:
        raise ConfigError(
            f"Arch.linear_probe: {type(model).__name__} does not tell its head from the rest; name "
            "what shall not be trained in Arch.freeze"
        )
    layers = dict(model.named_sublayers())
    parameters = dict(model.named_parameters())
    frozen = {
        name
        for name in (*layers, *parameters)
        if not any(is_within(name, head) or is_within(head, name) for head in heads)
    }
    _freeze(layers, parameters, frozen)


def _freeze(
    layers: "dict[str, nn.Layer]", parameters: "dict[str, Any]", frozen: "set[str]"
) -> None:
    for name in frozen & layers.keys():
        layers[name].register_forward_pre_hook(_stay_in_evaluation)
    for name in frozen & parameters.keys():
        parameters[name].stop_gradient = True
    sizes = [int(parameters[name].size) for name in frozen & parameters.keys()]
    total = sum(int(parameter.size) for parameter in parameters.values())
    logger.info(
        f"frozen: {len(sizes)} of {len(parameters)} parameters, {sum(sizes) / 1e6:.2f} of "
        f"{total / 1e6:.2f} M values"
    )


def _stay_in_evaluation(layer: nn.Layer, inputs: Any) -> None:
    # Before each call, because `train()` of the model reaches every layer of it.
    layer.training = False
