"""TransXNet: a dual dynamic token mixer, Lou et al., arXiv 2310.19380.

In every block half of the channels goes through a convolution whose kernels are computed for each
image (IDConv), the other half through self-attention to a reduced map (OSRA); both see the whole
image when they decide how to mix it. A small convolutional network (STE) joins them.

Tensor names and arithmetic are those of the authors' code. The layers are in `transxnet_blocks.py`.
"""

from functools import partial

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.backbone.transxnet_blocks import Block, DMixer, PatchEmbed
from ppcls.arch.backbone.transxnet_fused import fused_model
from ppcls.arch.base import Model
from ppcls.arch.layers import (
    PointwiseConv2D,
    init_trunc_normal,
    recompute,
    resize_table_bicubic,
    stochastic_depth_rates,
)
from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS

PerStage = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


@ARCHS.register()
class TransXNet(Model):
    """TransXNet of any size; `TransXNet_T`, `TransXNet_S`, `TransXNet_B` are the paper's.

    Images may have any size: maps have ceil(H / 4), then ceil(half) as many rows, and the tables of
    relative positions are resized when the size differs from `img_size`.

    Args:
        class_num: number of classes; 0 for a model without a head.
        img_size: size of the square images that the tables of relative positions are made for.
            They are resized, bicubically, for images of another size and to load weights made for
            another.
        in_chans: channels of the input images.
        layers: blocks of the four stages.
        embed_dims: channels of the four stages, even.
        kernel_size: of the dynamic convolution in each stage, odd.
        num_groups: candidate kernels that IDConv mixes in each stage.
        sr_ratio: factor by which OSRA reduces keys and values each way.
        num_heads: attention heads of the four stages; half of the channels are divided among them.
        mlp_ratios: hidden channels of the MS-FFN over the stage's channels.
        layer_scale_init_value: initial factor of both residual branches.
        drop_rate: dropout inside the MS-FFN.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        use_recompute: in eager training, keep only the input of each block and compute it again in
            the backward pass.

    Raises:
        ConfigError: arguments that do not fit together.
    """

    size_divisor = 1
    head_layers = ("classifier.2",)
    final_layers = ("classifier",)

    def __init__(
        self,
        class_num: NonNegativeInt = 1000,
        img_size: PositiveInt = 224,
        in_chans: PositiveInt = 3,
        layers: PerStage = (3, 3, 9, 3),
        embed_dims: PerStage = (48, 96, 224, 448),
        kernel_size: PerStage = (7, 7, 7, 7),
        num_groups: PerStage = (2, 2, 2, 2),
        sr_ratio: PerStage = (8, 4, 2, 1),
        num_heads: PerStage = (1, 2, 4, 8),
        mlp_ratios: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (
            4.0,
            4.0,
            4.0,
            4.0,
        ),
        layer_scale_init_value: float = 1e-5,
        drop_rate: Probability = 0.0,
        attn_drop_rate: Probability = 0.0,
        drop_path_rate: Probability = 0.1,
        use_recompute: bool = False,
    ):
        super().__init__()
        for name, values in [
            ("layers", layers),
            ("embed_dims", embed_dims),
            ("kernel_size", kernel_size),
            ("num_groups", num_groups),
            ("sr_ratio", sr_ratio),
            ("num_heads", num_heads),
            ("mlp_ratios", mlp_ratios),
        ]:
            if len(values) != 4:
                raise ConfigError(f"{name} needs a value for each of four stages, got {values}")
        for channels, heads, kernel, ratio in zip(embed_dims, num_heads, kernel_size, sr_ratio):
            if channels % (2 * heads):
                raise ConfigError(
                    f"embed_dims: half of {channels} channels cannot be divided among {heads} heads"
                )
            if kernel % 2 == 0:
                raise ConfigError(f"kernel_size must be odd, received {list(kernel_size)}")
            if ratio > 1 and ratio % 2:
                raise ConfigError(f"sr_ratio must be 1 or even, received {list(sr_ratio)}")
        self.class_num = class_num
        self.use_recompute = use_recompute
        self.feature_info = [
            {"channels": channels, "reduction": 4 * 2**stage, "name": f"network.{2 * stage}"}
            for stage, channels in enumerate(embed_dims)
        ]
        self.patch_embed = PatchEmbed(in_chans, embed_dims[0], 7, stride=4)
        self.relative_pos_enc = nn.ParameterList()
        self.network = nn.LayerList()
        side = -(-img_size // 4)
        for stage, rates in enumerate(stochastic_depth_rates(drop_path_rate, list(layers))):
            channels, ratio = embed_dims[stage], sr_ratio[stage]
            if stage > 0:
                self.network.append(PatchEmbed(embed_dims[stage - 1], channels, 3, stride=2))
                side = -(-side // 2)
            shape = [1, num_heads[stage], side**2, (-(-side // ratio)) ** 2]
            self.relative_pos_enc.append(self.create_parameter(shape, is_bias=True))
            blocks = [
                Block(
                    channels,
                    DMixer(
                        channels,
                        kernel_size[stage],
                        num_groups[stage],
                        num_heads[stage],
                        ratio,
                        attn_drop_rate,
                    ),
                    kernel_size[stage],
                    mlp_ratios[stage],
                    layer_scale_init_value,
                    drop_rate,
                    rate,
                )
                for rate in rates
            ]
            self.network.append(nn.LayerList(blocks))
        init_trunc_normal(self)
        self.classifier = nn.Sequential()
        self.classifier.add_sublayer("0", nn.GroupNorm(1, embed_dims[-1]))
        self.reset_classifier(class_num)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        self.check_input_size(x)
        recomputes = self.use_recompute and self.training and paddle.in_dynamic_mode()
        x = self.patch_embed(x)
        levels = []
        for stage, table in enumerate(self.relative_pos_enc):
            if stage > 0:
                x = self.network[2 * stage - 1](x)
            for block in self.network[2 * stage]:
                x = recompute(block, x, table) if recomputes else block(x, table)
            levels.append(x)
        return levels

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.classifier["0"](self.forward_levels(x)[-1])

    def forward_head(self, features: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        pooled = paddle.mean(features, axis=[2, 3], keepdim=True)
        return paddle.flatten(pooled if pre_logits else self.classifier["2"](pooled), 1)

    def reset_classifier(self, class_num: int) -> None:
        self.class_num = class_num
        channels = self.feature_info[-1]["channels"]
        head = PointwiseConv2D(channels, class_num) if class_num else nn.Identity()
        self.classifier.add_sublayer("2", head)

    def fused(self) -> nn.Layer:
        """The model for inference; takes this one apart (see `ppcls.arch.fusion`)."""
        return fused_model(self)

    def fit_tables(self, tensors: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
        tensors = dict(tensors)
        for stage, table in enumerate(self.relative_pos_enc):
            name = f"relative_pos_enc.{stage}"
            if name in tensors and tensors[name].ndim == 4:
                # `to_tensor` reads uint16, as which Paddle saves bfloat16, as bfloat16.
                published = paddle.cast(paddle.to_tensor(tensors[name]), "float32")
                tensors[name] = resize_table_bicubic(published, tuple(table.shape[2:])).numpy()
        return tensors


ARCHS.add("TransXNet_T", partial(TransXNet))
ARCHS.add(
    "TransXNet_S",
    partial(
        TransXNet,
        layers=(4, 4, 12, 4),
        embed_dims=(64, 128, 320, 512),
        num_groups=(2, 2, 3, 4),
        num_heads=(1, 2, 5, 8),
        mlp_ratios=(6.0, 6.0, 4.0, 4.0),
        drop_path_rate=0.2,
    ),
)
ARCHS.add(
    "TransXNet_B",
    partial(
        TransXNet,
        layers=(4, 4, 21, 4),
        embed_dims=(76, 152, 336, 672),
        num_groups=(2, 2, 4, 4),
        num_heads=(2, 4, 8, 16),
        mlp_ratios=(8.0, 8.0, 4.0, 4.0),
        drop_path_rate=0.4,
    ),
)
