"""The protocol that every model of ours answers to, and pyramid features on top of it."""

import warnings
from collections.abc import Sequence
from typing import Optional, TypedDict

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.layers.weight_init import init_trunc_normal
from ppcls.errors import ConfigError, UserError

# Paddle warns once that its `split` is not PyTorch's, and that batch normalisation does its work.
for message in (r"\s*Non compatible API", "When training, we now always track global mean"):
    warnings.filterwarnings("ignore", message=message)


class FeatureInfo(TypedDict):
    """What one feature level is: its channels, its stride in input pixels, its name."""

    channels: int
    reduction: int
    name: str


class Model(nn.Layer):
    """An image classifier with feature levels.

    A family implements `__init__` (which sets `class_num`, `feature_info` and `head`) and
    `forward_levels`; one that has more than "norm, mean over positions, linear head" overrides
    `forward_features` and `forward_head` too.
    """

    #: Number of classes; 0 for a model without a head, which returns its pooled features.
    class_num: int
    #: The levels that `forward_levels` returns, from the finest to the coarsest.
    feature_info: "list[FeatureInfo]"
    #: Height and width of an input must be multiples of this.
    size_divisor: int = 32
    #: Sub-layers, by their full names, whose tensors depend on the number of classes.
    head_layers: "tuple[str, ...]" = ("head",)
    #: Further sub-layers that `forward_levels` does not use.
    final_layers: "tuple[str, ...]" = ("norm",)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        """Images (B, C, H, W) -> maps (B, C_i, H / r_i, W / r_i) as listed in `feature_info`."""
        raise NotImplementedError

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, C, H, W) -> the last map after the final norm, (B, C_n, H / r_n, W / r_n)."""
        return self.norm(self.forward_levels(x)[-1])

    def forward_head(self, features: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """Features -> logits (B, class_num), or with `pre_logits` the vector before the head."""
        pooled = paddle.mean(features, axis=[2, 3])
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, C, H, W) -> logits (B, class_num)."""
        return self.forward_head(self.forward_features(x))

    def reset_classifier(self, class_num: int) -> None:
        """Replaces the head by a freshly initialised one; 0 removes it."""
        self.class_num = class_num
        self.head = linear_head(self.feature_info[-1]["channels"], class_num)

    def fit_tables(self, tensors: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """Published tensors, with position tables of another image size resized to this model's.

        `load_weights` calls it on all tensors of a file, by structured name and in Paddle's
        layout. A family with such tables overrides it; by default nothing changes.
        """
        return tensors

    def check_input_size(self, x: paddle.Tensor) -> None:
        """Raises a `UserError` for images (B, C, H, W) whose size the model cannot take."""
        H, W = x.shape[2:]
        if H < 1 or W < 1:
            raise UserError(
                f"{type(self).__name__} needs a fixed height and width in an exported program (the "
                f"batch may be dynamic), received the shape {list(x.shape)}"
            )
        if H % self.size_divisor or W % self.size_divisor:
            raise UserError(
                f"{type(self).__name__} takes images whose height and width are multiples of "
                f"{self.size_divisor}, received height {H} and width {W}"
            )


class FeaturePyramid(nn.Layer):
    """Some feature levels of a model: images (B, C, H, W) -> [(B, C_i, H / r_i, W / r_i), ...].

    Args:
        model: loses its classifier.
        out_indices: positions in `model.feature_info`, negative ones count from the coarsest; all
            levels by default.
    """

    def __init__(self, model: Model, out_indices: Optional[Sequence[int]] = None):
        super().__init__()
        count = len(model.feature_info)
        out_indices = list(range(count)) if out_indices is None else list(out_indices)
        wrong = [index for index in out_indices if not -count <= index < count]
        if wrong or not out_indices:
            raise ConfigError(
                f"out_indices: {type(model).__name__} has {count} feature levels, 0 to "
                f"{count - 1}, received {out_indices}"
            )
        # A head inside another layer goes with it.
        for name in {layer.partition(".")[0] for layer in model.final_layers + model.head_layers}:
            delattr(model, name)
        self.model = model
        self.out_indices = out_indices
        self.feature_info = [model.feature_info[index] for index in out_indices]

    def forward(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        levels = self.model.forward_levels(x)
        return [levels[index] for index in self.out_indices]


def linear_head(channels: int, class_num: int) -> nn.Layer:
    """A linear classifier (B, channels) -> (B, class_num); the identity for `class_num` 0."""
    if class_num == 0:
        return nn.Identity()
    head = nn.Linear(channels, class_num)
    init_trunc_normal(head)
    return head
