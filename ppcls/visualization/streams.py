"""Where the local and the global stream of a model can be read.

One point for each stage and stream, in the last block of the stage; models without streams of
their own (baselines) have none.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Optional

from paddle import nn

from ppcls.arch.backbone import dsnet, dwnet, san, transxnet_blocks, volo_blocks
from ppcls.arch.base import Model
from ppcls.arch.layers.outlook_attention import OutlookAttention
from ppcls.visualization.recording import Probe

Kind = Literal["local", "global"]


class StreamPoint(NamedTuple):
    """A stream in a block: its kind, what computes it, and where it can be read.

    `channels` are those of the tensor that belong to the stream; None is all.
    """

    kind: Kind
    operation: str
    probe: Probe
    channels: Optional[slice] = None


def stream_points(model: nn.Layer) -> "dict[str, StreamPoint]":
    """The streams of the last block of each stage, by a title such as `stage 1 local`."""
    points = {}
    for stage, (_, block) in last_of_stages(model, _has_streams).items():
        for point in _points_of(block):
            points[f"{stage} {point.kind}"] = point
    return points


def last_of_stages(model: nn.Layer, wanted: Any) -> "dict[str, tuple[str, nn.Layer]]":
    """For each stage of a model of ours (`stage 1`, ...) the last sub-layer that is `wanted`, with
    its name; stages without one are left out."""
    found = {}
    names = [info["name"] for info in model.feature_info] if isinstance(model, Model) else []
    layers = list(model.named_sublayers())
    for number, stage in enumerate(names, start=1):
        for name, layer in layers:
            if name.startswith(f"{stage}.") and wanted(layer):
                found[f"stage {number}"] = name, layer
    return found


def _has_streams(layer: nn.Layer) -> bool:
    return any(True for _ in _points_of(layer))


def _points_of(block: nn.Layer) -> "Iterator[StreamPoint]":
    if isinstance(block, dsnet.DualStreamBlock):
        yield from _dual_streams(block)
    elif isinstance(block, transxnet_blocks.DMixer):
        yield StreamPoint("local", "IDConv", Probe(block.local_unit, "output"))
        yield StreamPoint("global", "OSRA", Probe(block.global_unit, "output"))
    elif isinstance(block, dwnet.LocalMixer):
        yield StreamPoint("local", "depth-wise conv", Probe(block.conv, "output"))
    elif isinstance(block, san.Bottleneck):
        yield StreamPoint("local", "self-attention to neighbours", Probe(block.sam, "output"))
    elif isinstance(block, volo_blocks.Block):
        yield _mixer_of_volo(block.attn)


def _dual_streams(block: dsnet.DualStreamBlock) -> "Iterator[StreamPoint]":
    """Both streams before they are aligned, after which each knows what the other does."""
    C_l, C_g = block.local_channels, block.global_channels
    joined = Probe(block.conv2, "input")
    if C_l:
        probe = Probe(block.norm_conv2, "input") if block.alignment else joined
        yield StreamPoint("local", "depth-wise conv", probe, slice(0, C_l))
    if C_g:
        probe = Probe(block.norm_sa2, "input") if block.alignment else joined
        channels = slice(0, C_g) if block.alignment else slice(C_l, C_l + C_g)
        yield StreamPoint("global", "self-attention", probe, channels)


def _mixer_of_volo(mixer: nn.Layer) -> StreamPoint:
    if isinstance(mixer, volo_blocks.Attention):
        return StreamPoint("global", "self-attention", Probe(mixer, "output"))
    is_outlook = isinstance(mixer, OutlookAttention)
    operation = "outlook attention" if is_outlook else "depth-wise conv"
    return StreamPoint("local", operation, Probe(mixer, "output"))
