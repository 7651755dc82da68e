"""VOLO: Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", arXiv 2106.13112.

Stage one mixes neighbouring positions of a fine map by outlook attention, stage two is a
transformer on a map half as fine, and a class token reads the result by class attention.

Tensor names and arithmetic are those of the authors' code (https://github.com/sail-sg/volo, commit
cf35775), so their weights load unchanged. Maps are channels last between the blocks.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import TruncatedNormal

from ppcls.arch.base import Model, linear_head
from ppcls.arch.layers import (
    DropPath,
    gelu,
    init_trunc_normal,
    matmul,
    recompute,
    resize_bicubic,
    stochastic_depth_rates,
)
from ppcls.arch.layers.depthwise import DepthwiseConv2D
from ppcls.arch.layers.outlook_attention import OutlookAttention
from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError, UserError
from ppcls.registry import ARCHS

PerStage = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
RatioPerStage = tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]
Mixer = Literal["outlook", "attention", "dwconv"]

#: Strides of the two stages, in pixels.
_PATCH, _POOLING = 8, 2
#: Weight of the best token's logits beside those of the class token.
_TOKEN_WEIGHT = 0.5


class PatchEmbed(nn.Layer):
    """The stem: images (B, in_channels, H, W) -> (B, channels, H / 8, W / 8)."""

    def __init__(self, in_channels: int, hidden_channels: int, channels: int):
        super().__init__()
        layers = []
        for kernel, stride in [(7, 2), (3, 1), (3, 1)]:
            conv = nn.Conv2D(
                in_channels, hidden_channels, kernel, stride, kernel // 2, bias_attr=False
            )
            layers += [conv, nn.BatchNorm2D(hidden_channels), nn.ReLU()]
            in_channels = hidden_channels
        self.conv = nn.Sequential(*layers)
        patch = _PATCH // 2
        self.proj = nn.Conv2D(hidden_channels, channels, kernel_size=patch, stride=patch)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.proj(self.conv(x))


class Downsample(nn.Layer):
    """From stage one to stage two: (B, H, W, C) -> (B, H // 2, W // 2, C')."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.proj = nn.Conv2D(in_channels, out_channels, kernel_size=_POOLING, stride=_POOLING)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return channels_last(self.proj(channels_first(x)))


class Mlp(nn.Layer):
    """Two linear layers with a GELU between: (..., C), kept."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.dropout(self.fc2(self.dropout(gelu(self.fc1(x)))))


class Attention(nn.Layer):
    """Multi-head self-attention over all positions of a map: (B, H, W, C), kept."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale or head_width(channels, num_heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias_attr=None if qkv_bias else False)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        H, W, C = x.shape[1:]
        qkv = paddle.reshape(self.qkv(x), [-1, H * W, 3, self.num_heads, C // self.num_heads])
        q, k, v = paddle.unbind(paddle.transpose(qkv, [2, 0, 3, 1, 4]), axis=0)  # B, heads, N, d
        weights = F.softmax(matmul(q * self.scale, k, transpose_y=True), axis=-1)
        y = paddle.transpose(matmul(self.attention_dropout(weights), v), [0, 2, 1, 3])
        return self.dropout(self.proj(paddle.reshape(y, [-1, H, W, C])))

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the two products of attention, for a batch x."""
        B, H, W, C = x.shape
        return {"attention_matmul": 2 * B * (H * W) ** 2 * C}


class DepthwiseMixer(nn.Layer):
    """What outlook attention becomes with the same weights everywhere: (B, H, W, C), kept.

    A 3x3 depth-wise convolution between the projections `v` and `proj`; for comparisons.
    """

    def __init__(self, channels: int, qkv_bias: bool = False, dropout: float = 0.0):
        super().__init__()
        self.v = nn.Linear(channels, channels, bias_attr=None if qkv_bias else False)
        self.conv = DepthwiseConv2D(channels, 3)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = channels_last(self.conv(channels_first(self.v(x))))
        return self.dropout(self.proj(y))


class Block(nn.Layer):
    """x + mixer(norm1(x)), then x + mlp(norm2(x)): (B, H, W, C), kept.

    Args:
        channels: C.
        mixer: mixes positions; it is called `attn`, as the published tensors are.
        mlp_ratio: hidden channels of the MLP over C.
        dropout: rate inside the MLP.
        drop_path: stochastic depth rate of both residual branches.
    """

    def __init__(
        self,
        channels: int,
        mixer: nn.Layer,
        mlp_ratio: float,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ClassAttention(nn.Layer):
    """The class token attends to all tokens: (B, 1 + N, C) -> (B, 1, C)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        bias = None if qkv_bias else False
        self.num_heads = num_heads
        self.scale = qk_scale or head_width(channels, num_heads) ** -0.5
        self.kv = nn.Linear(channels, 2 * channels, bias_attr=bias)
        self.q = nn.Linear(channels, channels, bias_attr=bias)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        N, C = x.shape[1:]
        heads, d = self.num_heads, C // self.num_heads
        kv = paddle.transpose(paddle.reshape(self.kv(x), [-1, N, 2, heads, d]), [2, 0, 3, 1, 4])
        k, v = paddle.unbind(kv, axis=0)  # B, heads, 1 + N, d
        q = paddle.reshape(self.q(x[:, :1]), [-1, heads, 1, d]) * self.scale
        weights = F.softmax(matmul(q, k, transpose_y=True), axis=-1)  # B, heads, 1, 1 + N
        y = paddle.reshape(matmul(self.attention_dropout(weights), v), [-1, 1, C])
        return self.dropout(self.proj(y))

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the two products of attention, for a batch x."""
        return {"attention_matmul": 2 * int(x.size)}


class ClassBlock(nn.Layer):
    """Class attention and an MLP, which change the class token alone: (B, 1 + N, C), kept."""

    def __init__(self, channels: int, attention: ClassAttention, mlp_ratio: float, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        token = x[:, :1] + self.attn(self.norm1(x))
        token = token + self.mlp(self.norm2(token))
        return paddle.concat([token, x[:, 1:]], axis=1)


def channels_first(x: paddle.Tensor) -> paddle.Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return paddle.transpose(x, [0, 3, 1, 2])


def channels_last(x: paddle.Tensor) -> paddle.Tensor:
    """(B, C, H, W) -> (B, H, W, C)."""
    return paddle.transpose(x, [0, 2, 3, 1])


def best_over_tokens(logits: paddle.Tensor) -> paddle.Tensor:
    """The largest of each class over all tokens: (B, N, K) -> (B, K).

    As a pooling of columns: on CPUs the gradient of `paddle.max` takes two seconds for each image
    of 196 tokens and 1000 classes, that of pooling a millisecond.
    """
    N, K = logits.shape[1:]
    return paddle.reshape(F.max_pool2d(paddle.unsqueeze(logits, 1), [N, 1]), [-1, K])


def head_width(channels: int, num_heads: int) -> int:
    """Channels of one attention head."""
    if channels % num_heads:
        raise ConfigError(f"{channels} channels cannot be divided among {num_heads} heads")
    return channels // num_heads


@ARCHS.register()
class VOLO(Model):
    """Vision outlooker of any size; `VOLO_D1` to `VOLO_D5` are the paper's.

    In evaluation the logits are those of the class token plus half the best of each class over the
    other tokens. Training returns the same, or with `return_dense` the parts (see
    `ppcls.loss.token_label`).

    Args:
        class_num: number of classes; 0 for a model without heads.
        img_size: size of the square images that the position table is made for. It is resized,
            bicubically, for images of another size and to load weights made for another.
        in_chans: channels of the input images.
        layers: blocks of stage one, then of three groups that form stage two.
        embed_dims: channels of the groups; the last three are equal.
        num_heads: attention heads of the groups.
        mlp_ratios: hidden channels of the MLPs over the group's channels.
        stem_hidden_dim: channels inside the stem.
        mixer: of stage one: outlook attention, self-attention over all positions, or a 3x3
            depth-wise convolution (the paper's comparison).
        post_layers: class-attention blocks; 0, with `return_mean` only, for no class token.
        return_mean: classify the mean of all tokens, the class token among them, by `head` alone.
        return_dense: in training, return class logits and token logits apart.
        mix_token: in training, mix each image's tokens with those of another; needs
            `return_dense`.
        qkv_bias: whether projections to queries, keys and values have a bias.
        qk_scale: factor of the attention logits; (channels per head)^-0.5 when None.
        drop_rate: dropout after the position table, after attention and inside the MLPs.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block. As published it grows linearly from 0
            at the first block, but applies in stage two only.
        use_recompute: in eager training, keep only the input of each block and compute it again in
            the backward pass.

    Raises:
        ConfigError: arguments that do not fit together.
    """

    size_divisor = 1
    head_layers = ("head", "aux_head")
    final_layers = ("norm", "post_network", "cls_token")

    def __init__(
        self,
        class_num: NonNegativeInt = 1000,
        img_size: PositiveInt = 224,
        in_chans: PositiveInt = 3,
        layers: PerStage = (4, 4, 8, 2),
        embed_dims: PerStage = (192, 384, 384, 384),
        num_heads: PerStage = (6, 12, 12, 12),
        mlp_ratios: RatioPerStage = (3.0, 3.0, 3.0, 3.0),
        stem_hidden_dim: PositiveInt = 64,
        mixer: Mixer = "outlook",
        post_layers: NonNegativeInt = 2,
        return_mean: bool = False,
        return_dense: bool = False,
        mix_token: bool = False,
        qkv_bias: bool = False,
        qk_scale: Optional[PositiveFloat] = None,
        drop_rate: Probability = 0.0,
        attn_drop_rate: Probability = 0.0,
        drop_path_rate: Probability = 0.1,
        use_recompute: bool = False,
    ):
        super().__init__()
        for name, values in [
            ("layers", layers),
            ("embed_dims", embed_dims),
            ("num_heads", num_heads),
            ("mlp_ratios", mlp_ratios),
        ]:
            if len(values) != 4:
                raise ConfigError(f"{name} needs a value for each of four groups, got {values}")
        C, C_1 = embed_dims[-1], embed_dims[0]
        if set(embed_dims[1:]) != {C}:
            raise ConfigError(f"embed_dims: the last three are one stage, got {embed_dims}")
        if img_size < _PATCH * _POOLING:
            raise ConfigError(f"img_size is at least {_PATCH * _POOLING}, got {img_size}")
        if return_mean and return_dense:
            raise ConfigError("return_dense: with return_mean there are no token logits to return")
        if mix_token and not return_dense:
            raise ConfigError(
                "mix_token needs return_dense: true, and TokenLabelLoss to train with"
            )
        if not post_layers and not return_mean:
            raise ConfigError("post_layers: 0 leaves no class token and needs return_mean: true")
        self.class_num = class_num
        self.return_mean = return_mean
        self.return_dense = return_dense
        self.mix_token = mix_token
        self.use_recompute = use_recompute
        self.feature_info = [
            {"channels": C_1, "reduction": _PATCH, "name": "network.0"},
            {"channels": C, "reduction": _PATCH * _POOLING, "name": "network.4"},
        ]
        attention = {
            "qkv_bias": qkv_bias,
            "qk_scale": qk_scale,
            "dropout": drop_rate,
            "attention_dropout": attn_drop_rate,
        }

        def mixer_of(group: int) -> nn.Layer:
            if group > 0 or mixer == "attention":
                return Attention(embed_dims[group], num_heads[group], **attention)
            if mixer == "dwconv":
                return DepthwiseMixer(C_1, qkv_bias, drop_rate)
            return OutlookAttention(C_1, num_heads[0], **attention)

        self.patch_embed = PatchEmbed(in_chans, stem_hidden_dim, C_1)
        draw = paddle.ParamAttr(initializer=TruncatedNormal(std=0.02))
        side = img_size // (_PATCH * _POOLING)
        self.pos_embed = self.create_parameter([1, side, side, C], attr=draw)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = stochastic_depth_rates(drop_path_rate, list(layers))
        rates[0] = [0.0] * layers[0]
        groups = [
            nn.Sequential(
                *[
                    Block(embed_dims[group], mixer_of(group), mlp_ratios[group], drop_rate, rate)
                    for rate in rates[group]
                ]
            )
            for group in range(4)
        ]
        self.network = nn.LayerList([groups[0], Downsample(C_1, C), *groups[1:]])
        self.norm = nn.LayerNorm(C)
        if post_layers:
            self.cls_token = self.create_parameter([1, 1, C], attr=draw)
            self.post_network = nn.LayerList(
                [
                    ClassBlock(
                        C, ClassAttention(C, num_heads[-1], **attention), mlp_ratios[-1], drop_rate
                    )
                    for _ in range(post_layers)
                ]
            )
        else:
            self.post_network = None
            self.final_layers = ("norm",)
        init_trunc_normal(self)
        if return_mean:
            self.head_layers = ("head",)
        self._add_heads(C, class_num)

    def _add_heads(self, channels: int, class_num: int) -> None:
        self.head = linear_head(channels, class_num)
        if not self.return_mean:
            self.aux_head = linear_head(channels, class_num)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        return [channels_first(level) for level in self._stages(self._embed(x))]

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, C, H, W) -> tokens (B, 1 + N, C_2), the class token first if there is one.

        Unlike a map they hold all that `forward_head` needs; N = (H // 16) * (W // 16).
        """
        return self._read(self._stages(self._embed(x))[-1])

    def forward_head(self, features: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """Tokens -> logits (B, class_num), or with `pre_logits` the vector before the head."""
        pooled = paddle.mean(features, axis=1) if self.return_mean else features[:, 0]
        if pre_logits or not self.class_num:
            return pooled
        logits = self.head(pooled)
        if self.return_mean:
            return logits
        return logits + _TOKEN_WEIGHT * best_over_tokens(self.aux_head(features[:, 1:]))

    def forward(self, x: paddle.Tensor) -> "Union[paddle.Tensor, dict[str, paddle.Tensor]]":
        """Images (B, C, H, W) -> logits (B, class_num).

        In training with `return_dense` a mapping instead: `logits` (B, class_num) of the class
        token, `token_logits` (B, N, class_num) and with `mix_token` `mix_box`, the tokens that
        came from the sample at the other end of the batch: int64 [top, left, bottom, right) on the
        map of stage two. Token logits are back with their own sample.
        """
        if self.training and self.return_dense and self.class_num:
            return self._forward_dense(x)
        return super().forward(x)

    def reset_classifier(self, class_num: int) -> None:
        """Replaces both heads by freshly initialised ones; 0 removes them."""
        self.class_num = class_num
        self._add_heads(self.feature_info[-1]["channels"], class_num)

    def no_weight_decay(self) -> "list[str]":
        """Parameters that the authors do not decay besides biases and norms."""
        return ["pos_embed"] + (["cls_token"] if self.post_network is not None else [])

    def fit_tables(self, tensors: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """`tensors` with the position table resized bicubically to this model's `img_size`."""
        table, size = tensors.get("pos_embed"), self.pos_embed.shape[1:3]
        if table is None or table.ndim != 4 or list(table.shape[1:3]) == size:
            return tensors
        # `to_tensor` reads uint16, as which Paddle saves bfloat16, as bfloat16.
        table = resized_table(paddle.cast(paddle.to_tensor(table), "float32"), size)
        return {**tensors, "pos_embed": table.numpy()}

    def check_input_size(self, x: paddle.Tensor) -> None:
        super().check_input_size(x)
        H, W = x.shape[2:]
        # The stem's first convolution rounds up, what follows rounds down.
        smallest = _PATCH * _POOLING - 1
        if min(H, W) < smallest:
            raise UserError(
                f"VOLO takes images of at least {smallest} x {smallest} pixels, received height "
                f"{H} and width {W}"
            )

    def _embed(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images -> the map stage one begins with, (B, H / 8, W / 8, C_1)."""
        self.check_input_size(x)
        return channels_last(self.patch_embed(x))

    def _stages(self, x: paddle.Tensor) -> "tuple[paddle.Tensor, paddle.Tensor]":
        """(B, H, W, C_1) -> the maps of both stages, (B, H, W, C_1) and (B, H // 2, W // 2, C)."""
        fine = self._run(self.network[0], x)
        x = self.network[1](fine)
        x = self.pos_drop(x + resized_table(self.pos_embed, x.shape[1:3]))
        for group in self.network[2:]:
            x = self._run(group, x)
        return fine, x

    def _read(self, x: paddle.Tensor) -> paddle.Tensor:
        """The map of stage two (B, H, W, C) -> normalised tokens, the class token first."""
        H, W, C = x.shape[1:]
        x = paddle.reshape(x, [-1, H * W, C])
        if self.post_network is not None:
            token = paddle.expand(self.cls_token, [paddle.shape(x)[0], 1, C])
            x = self._run(self.post_network, paddle.concat([token, x], axis=1))
        return self.norm(x)

    def _forward_dense(self, x: paddle.Tensor) -> "dict[str, paddle.Tensor]":
        x = self._embed(x)
        h, w = x.shape[1] // _POOLING, x.shape[2] // _POOLING
        if self.mix_token:
            box = random_box(h, w)
            x = swap_in_box(x, box * _POOLING)
        tokens = self._read(self._stages(x)[-1])
        outputs = {"logits": self.head(tokens[:, 0]), "token_logits": self.aux_head(tokens[:, 1:])}
        if self.mix_token:
            dense = paddle.reshape(outputs["token_logits"], [-1, h, w, self.class_num])
            dense = paddle.reshape(swap_in_box(dense, box), [-1, h * w, self.class_num])
            outputs.update(token_logits=dense, mix_box=box)
        return outputs

    def _run(self, blocks: nn.Layer, x: paddle.Tensor) -> paddle.Tensor:
        recomputes = self.use_recompute and self.training and paddle.in_dynamic_mode()
        for block in blocks:
            x = recompute(block, x) if recomputes else block(x)
        return x


def resized_table(table: paddle.Tensor, size: "Sequence[int]") -> paddle.Tensor:
    """A position table (1, h, w, C) for a map of another size (H, W): (1, H, W, C)."""
    if list(size) == table.shape[1:3]:
        return table
    return channels_last(resize_bicubic(channels_first(table), tuple(size)))


def random_box(height: int, width: int) -> paddle.Tensor:
    """A box as CutMix draws it, int64 [top, left, bottom, right).

    Its share of the map is uniform in [0, 1], less what lies beyond the borders (Yun et al.,
    arXiv 1905.04899, with alpha 1).
    """
    draws = paddle.rand([3])
    size = paddle.to_tensor([float(height), float(width)])
    half = paddle.floor(paddle.floor(size * paddle.sqrt(draws[:1])) / 2)
    centre = paddle.floor(size * draws[1:])
    start = paddle.clip(centre - half, min=0.0)
    end = paddle.minimum(centre + half, size)
    return paddle.cast(paddle.concat([start, end]), "int64")


def swap_in_box(x: paddle.Tensor, box: paddle.Tensor) -> paddle.Tensor:
    """Inside the box, values of the sample at the other end of the batch: (B, H, W, C), kept.

    Doing it twice gives back what was there before.
    """
    H, W = x.shape[1:3]
    top, left, bottom, right = paddle.unbind(box)
    rows, columns = paddle.arange(H), paddle.arange(W)
    rows = paddle.logical_and(rows >= top, rows < bottom)
    columns = paddle.logical_and(columns >= left, columns < right)
    inside = paddle.logical_and(paddle.unsqueeze(rows, 1), columns)
    inside = paddle.cast(paddle.reshape(inside, [1, H, W, 1]), x.dtype)
    return x + inside * (paddle.flip(x, axis=[0]) - x)


ARCHS.add("VOLO_D1", partial(VOLO, drop_path_rate=0.1))
ARCHS.add(
    "VOLO_D2",
    partial(
        VOLO,
        layers=(6, 4, 10, 4),
        embed_dims=(256, 512, 512, 512),
        num_heads=(8, 16, 16, 16),
        drop_path_rate=0.2,
    ),
)
ARCHS.add(
    "VOLO_D3",
    partial(
        VOLO,
        layers=(8, 8, 16, 4),
        embed_dims=(256, 512, 512, 512),
        num_heads=(8, 16, 16, 16),
        drop_path_rate=0.5,
    ),
)
ARCHS.add(
    "VOLO_D4",
    partial(
        VOLO,
        layers=(8, 8, 16, 4),
        embed_dims=(384, 768, 768, 768),
        num_heads=(12, 16, 16, 16),
        drop_path_rate=0.5,
    ),
)
ARCHS.add(
    "VOLO_D5",
    partial(
        VOLO,
        layers=(12, 12, 20, 4),
        embed_dims=(384, 768, 768, 768),
        num_heads=(12, 16, 16, 16),
        mlp_ratios=(4.0, 4.0, 4.0, 4.0),
        stem_hidden_dim=128,
        drop_path_rate=0.75,
    ),
)
