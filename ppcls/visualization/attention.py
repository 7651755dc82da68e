"""Attention weights of any model that drops them out by a named layer, as all of ours do."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.backbone.dsnet import DualStreamBlock
from ppcls.arch.layers.outlook_attention import OutlookAttention
from ppcls.visualization.maps import TokenGrid, token_grid
from ppcls.visualization.recording import Probe
from ppcls.visualization.streams import last_of_stages

#: What the layer that takes the weights is called: by us, and by `paddleclas`.
_DROPOUTS = ("attention_dropout", "attn_drop")
#: The attentions of a block of DSNet, in the order of its calls.
_DUAL_STREAM_CALLS = ("self", "local asks global", "global asks local")
#: Of models whose stages are not known, so many layers are shown.
_SHOWN_LAYERS = 4


class Attention(NamedTuple):
    """Weights of one image, the mean over heads.

    weights: (queries, keys), rows sum to one; queries, keys: the maps that both are, `queries` is
    None where there is one query, the class token.
    """

    weights: np.ndarray
    queries: Optional[TokenGrid]
    keys: TokenGrid

    def received(self) -> np.ndarray:
        """(h, w): what a position gets on average over the queries."""
        return self._as_map(self.weights.mean(axis=0))

    def of(self, y: float, x: float) -> np.ndarray:
        """(h, w): the weights of the query at a place, 0 to 1 down and across."""
        if self.queries is None:
            return self.received()
        height, width, extra = self.queries
        row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
        return self._as_map(self.weights[extra + row * width + column])

    def _as_map(self, row: np.ndarray) -> np.ndarray:
        return row[self.keys.extra :].reshape(self.keys.height, self.keys.width)


def attention_probes(model: nn.Layer) -> "dict[str, Probe]":
    """Where attention weights pass, by title: the last of each stage, and class attention.

    Of models whose stages are not known, layers spread over the depth, titled by their names.
    """

    def weighs(layer: nn.Layer) -> bool:
        return not isinstance(layer, OutlookAttention) and _dropout(layer) is not None

    found = {title: layer for title, (_, layer) in last_of_stages(model, weighs).items()}
    if not found:
        layers = [(name, layer) for name, layer in model.named_sublayers() if weighs(layer)]
        places = np.linspace(0, len(layers) - 1, min(_SHOWN_LAYERS, len(layers)))
        found = dict(layers[round(place)] for place in places)
    final = getattr(model, "post_network", None)
    if final is not None and len(final):
        found["class token"] = final[-1].attn
    return {title: Probe(_dropout(layer), "input") for title, layer in found.items()}


def attention_titles(model: nn.Layer, title: str, calls: int) -> "list[str]":
    """What the attentions are called that passed the probe of a title in so many calls."""
    if calls == 1:
        return [title]
    is_dual = calls == 3 and any(isinstance(x, DualStreamBlock) for x in model.sublayers())
    names = _DUAL_STREAM_CALLS if is_dual else [f"call {n + 1}" for n in range(calls)]
    return [f"{title} {name}" for name in names]


def read_attention(weights: paddle.Tensor, size: Sequence[int]) -> Optional[Attention]:
    """Weights (1, heads, queries, keys) of an image of `size` (H, W).

    None for weights within windows, or between what is no map.
    """
    if weights.ndim != 4 or weights.shape[0] != 1:
        return None
    count = weights.shape[2]
    queries, keys = token_grid(count, size), token_grid(weights.shape[3], size)
    if keys is None or (queries is None and count > 1):
        return None
    mean = paddle.mean(weights[0], axis=0).numpy()
    return Attention(mean, queries if count > 1 else None, keys)


def outlook_layers(model: nn.Layer) -> "dict[str, OutlookAttention]":
    """The last outlook attention of each stage, by title."""
    found = last_of_stages(model, lambda layer: isinstance(layer, OutlookAttention))
    return {title: layer for title, (_, layer) in found.items()}


def outlook_probe(layer: OutlookAttention) -> Probe:
    return Probe(layer.attention_dropout, "input")


def read_outlook(
    weights: paddle.Tensor, layer: OutlookAttention, size: Sequence[int]
) -> Optional[np.ndarray]:
    """How the centre of every window weighs its 3 x 3 positions: (heads, 9, h, w).

    Args:
        weights: (h * w * heads, 9, 9) of one image.
        size: of the image.
    """
    grid = token_grid(weights.shape[0] // layer.num_heads, size)
    if grid is None:
        return None
    shape = [grid.height, grid.width, layer.num_heads, 9, 9]
    centre = paddle.reshape(weights, shape)[:, :, :, 4]
    return paddle.transpose(centre, [2, 3, 0, 1]).numpy()


def _dropout(layer: nn.Layer) -> Optional[nn.Layer]:
    for name in _DROPOUTS:
        found = getattr(layer, name, None)
        if isinstance(found, nn.Layer):
            return found
    return None
