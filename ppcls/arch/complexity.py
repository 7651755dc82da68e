"""Counting parameters and multiply-accumulate operations (MACs)."""

from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

#: Convolution and fully connected layers, without their biases.
CONV_LINEAR = "conv_linear"


@dataclass(frozen=True)
class Complexity:
    """What a model costs.

    Normalisation, activations, additions and resizing are not counted, as is the custom.
    """

    #: Trainable parameters: running statistics of batch normalisation are not among them.
    parameters: int
    #: MACs for one image, by kind: `conv_linear`, and what layers report of their own
    #: (`attention_matmul` for the products of queries, keys and values, ...).
    macs: "dict[str, int]"

    @property
    def total_macs(self) -> int:
        return sum(self.macs.values())


def count_parameters(model: nn.Layer) -> int:
    """The number of trainable values."""
    return sum(int(p.size) for p in model.parameters() if not p.stop_gradient)


def count_complexity(model: nn.Layer, image_shape: "tuple[int, int, int]") -> Complexity:
    """Counts the operations of one forward pass in evaluation mode.

    Layers that multiply activations with each other say how much by a method
    `functional_macs(*inputs) -> {kind: MACs of the whole batch}`; in models from elsewhere, whose
    layers lack it, such products are not counted.

    Args:
        image_shape: (C, H, W) of the one image that is passed through.
    """
    macs: dict[str, int] = {CONV_LINEAR: 0}

    def count_layer(layer: nn.Layer, inputs: "tuple[Any, ...]", output: paddle.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            macs[CONV_LINEAR] += int(output.size) * layer.weight.shape[0]
        elif isinstance(layer, nn.Conv2D):
            per_value = int(layer.weight.size) // layer.weight.shape[0]
            macs[CONV_LINEAR] += int(output.size) * per_value
        if hasattr(layer, "functional_macs"):
            for kind, count in layer.functional_macs(*inputs).items():
                macs[kind] = macs.get(kind, 0) + count

    hooks = [
        layer.register_forward_post_hook(count_layer)
        for layer in model.sublayers(include_self=True)
    ]
    was_training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, *image_shape]))
    finally:
        for hook in hooks:
            hook.remove()
        if was_training:
            model.train()
    return Complexity(parameters=count_parameters(model), macs=macs)
