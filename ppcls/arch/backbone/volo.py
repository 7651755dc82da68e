"""VOLO: Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", arXiv 2106.13112.

Stage one mixes neighbouring positions of a fine map by outlook attention, stage two is a
transformer on a map half as fine, and a class token reads the result by class attention.

Tensor names and arithmetic are those of the authors' code (https://github.com/sail-sg/volo, commit
cf35775), so their weights load unchanged. Maps are channels last between the blocks, whose layers
are in `volo_blocks.py`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import TruncatedNormal

from ppcls.arch.backbone.volo_blocks import (
    PATCH,
    POOLING,
    Attention,
    Block,
    ClassAttention,
    ClassBlock,
    DepthwiseMixer,
    Downsample,
    PatchEmbed,
    channels_first,
    channels_last,
)
from ppcls.arch.backbone.volo_token_mixing import random_box, swap_in_box
from ppcls.arch.base import Model, linear_head
from ppcls.arch.layers import init_trunc_normal, recompute, resize_bicubic, stochastic_depth_rates
from ppcls.arch.layers.outlook_attention import OutlookAttention
from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError, UserError
from ppcls.registry import ARCHS

PerStage = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
RatioPerStage = tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]
Mixer = Literal["outlook", "attention", "dwconv"]

#: Weight of the best token's logits beside those of the class token.
_TOKEN_WEIGHT = 0.5


def best_over_tokens(logits: paddle.Tensor) -> paddle.Tensor:
    """The largest of each class over all tokens: (B, N, K) -> (B, K).

    As a pooling of columns: on CPUs the gradient of `paddle.max` takes two seconds for each image
    of 196 tokens and 1000 classes, that of pooling a millisecond.
    """
    N, K = logits.shape[1:]
    return paddle.reshape(F.max_pool2d(paddle.unsqueeze(logits, 1), [N, 1]), [-1, K])


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
        if img_size < PATCH * POOLING:
            raise ConfigError(f"img_size is at least {PATCH * POOLING}, got {img_size}")
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
            {"channels": C_1, "reduction": PATCH, "name": "network.0"},
            {"channels": C, "reduction": PATCH * POOLING, "name": "network.4"},
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
        side = img_size // (PATCH * POOLING)
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
        smallest = PATCH * POOLING - 1
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
        h, w = x.shape[1] // POOLING, x.shape[2] // POOLING
        if self.mix_token:
            box = random_box(h, w)
            x = swap_in_box(x, box * POOLING)
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
