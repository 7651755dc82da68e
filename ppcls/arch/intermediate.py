"""Outputs of sub-layers beside a model's own."""

import re
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ppcls.errors import ConfigError, did_you_mean


def return_outputs_of(model: nn.Layer, patterns: Sequence[str]) -> None:
    """Makes `model` return a mapping: `logits`, and under each pattern that sub-layer's output.

    The model's tensors keep their names.

    Args:
        patterns: names of sub-layers as Python writes them, e.g. `blocks1[0].conv1`, or as in the
            state dict, `blocks1.0.conv1`.

    Raises:
        ConfigError: there is no such sub-layer.
    """
    layers = dict(model.named_sublayers())
    found: dict[str, paddle.Tensor] = {}

    def keep(pattern: str) -> Any:
        def hook(layer: nn.Layer, inputs: Any, output: paddle.Tensor) -> None:
            found[pattern] = output

        return hook

    def collect(layer: nn.Layer, inputs: Any, output: Any) -> "dict[str, Any]":
        outputs = {**output} if isinstance(output, dict) else {"logits": output}
        outputs.update(found)
        found.clear()
        return outputs

    for pattern in patterns:
        name = re.sub(r"\[(\d+)\]", r".\1", pattern)
        if name not in layers:
            raise ConfigError(
                f"return_patterns: {type(model).__name__} has no sub-layer "
                f"'{pattern}'{did_you_mean(name, layers)}"
            )
        layer = layers[name]
        while isinstance(layer, nn.LayerList):
            # A list of layers in a row is not called itself: its output is that of the last.
            layer = layer[-1]
        layer.register_forward_post_hook(keep(pattern))
    model.register_forward_post_hook(collect)
