"""Layers that several families share, one idea per file."""

from ppcls.arch.layers.adaptive_pool import adaptive_avg_pool2d
from ppcls.arch.layers.channel_linear import ChannelLinear
from ppcls.arch.layers.drop_path import DropPath, stochastic_depth_rates
from ppcls.arch.layers.dynamic_conv import dynamic_depthwise_conv2d, dynamic_depthwise_conv2d_macs
from ppcls.arch.layers.gelu import gelu
from ppcls.arch.layers.local_aggregation import (
    local_aggregation,
    local_aggregation_macs,
    pad_neighbourhood,
)
from ppcls.arch.layers.matmul import matmul
from ppcls.arch.layers.pointwise import PointwiseConv2D
from ppcls.arch.layers.position_table import resize_table_bicubic
from ppcls.arch.layers.recompute import recompute
from ppcls.arch.layers.resize import resize_bicubic, resize_bilinear
from ppcls.arch.layers.sigmoid import sigmoid
from ppcls.arch.layers.weight_init import init_trunc_normal

__all__ = [
    "ChannelLinear",
    "DropPath",
    "PointwiseConv2D",
    "adaptive_avg_pool2d",
    "dynamic_depthwise_conv2d",
    "dynamic_depthwise_conv2d_macs",
    "gelu",
    "init_trunc_normal",
    "local_aggregation",
    "local_aggregation_macs",
    "matmul",
    "pad_neighbourhood",
    "recompute",
    "resize_bicubic",
    "resize_bilinear",
    "resize_table_bicubic",
    "sigmoid",
    "stochastic_depth_rates",
]
