"""Published weights in the layout of their authors, brought into our models.

Our models keep the published tensor names, so two rules are all there is between PyTorch's layout
and Paddle's: weights of linear layers are transposed, and the running statistics of batch norms are
called `_mean` and `_variance`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from paddle import nn

from ppcls.arch.weights import LoadReport, load_weights
from ppcls.errors import CheckpointError
from ppcls.utils.weight_file import read_any

#: Keys under which training scripts put the weights; those of averaged copies last.
_NESTS = ("state_dict", "model", "module", "network", "net")
_EMA_NESTS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "shadow")
_PREFIXES = ("module.", "_orig_mod.")
_STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}


def load_published(
    model: nn.Layer,
    tensors: "Mapping[str, np.ndarray]",
    source: str = "the published weights",
    ignore_head: bool = False,
) -> LoadReport:
    """Loads tensors that have official names and the official layout.

    Args:
        model: one of ours; nothing in it changes when the tensors are refused.
        tensors: by official name, in PyTorch's layout (or in Paddle's, as PaddleClas publishes
            DSNet: such files say `_mean` where PyTorch says `running_mean`).
        source: what messages call the tensors, usually a path.
        ignore_head: leave the classifier as it is and ignore the one in `tensors`.

    Raises:
        CheckpointError: lists every missing, unexpected and mis-shaped tensor.
    """
    if is_torch_layout(tensors):
        tensors = from_torch_layout(model, tensors)
    return load_weights(model, tensors, source, ignore_head=ignore_head, list_all=True)


def read_published(path: Union[str, Path], ema: bool = False) -> "dict[str, np.ndarray]":
    """The tensors of an author's file by official name, without prefixes of wrappers.

    Args:
        path: a `.pth`, `.pth.tar`, `.pdparams` or `.safetensors` file.
        ema: take the averaged copy; by default the other one is taken where there are both.

    Raises:
        CheckpointError: the file cannot be read, or has no such copy.
    """
    copies = find_copies(read_any(path))
    wanted = [name for name in copies if (name.rpartition(".")[2] in _EMA_NESTS) == ema]
    if not wanted:
        what = "averaged (EMA) weights" if ema else "weights"
        there = ", ".join(name or "at the top" for name in copies) or "none at all"
        raise CheckpointError(f"{path} holds no {what} (weights found: {there})")
    return copies[wanted[0]]


def find_copies(content: Any) -> "dict[str, dict[str, np.ndarray]]":
    """Every set of weights in the content of a file, by the keys that lead to it ("" at the top).

    Further entries beside the tensors (epoch, optimizer, settings) are left out.
    """
    copies: dict[str, dict[str, np.ndarray]] = {}
    _collect(content, "", copies)
    return copies


def is_torch_layout(tensors: "Mapping[str, np.ndarray]") -> bool:
    """Whether tensors have PyTorch's layout; all families have batch norms, whose names tell."""
    return any(name.rpartition(".")[2] in _STATISTICS for name in tensors)


def from_torch_layout(
    model: nn.Layer, tensors: "Mapping[str, np.ndarray]"
) -> "dict[str, np.ndarray]":
    """Tensors of PyTorch's layout by our names, in Paddle's layout, ready for `load_weights`."""
    transposed = linear_weights(model)
    converted = {}
    for name, value in tensors.items():
        name = paddle_name(name)
        converted[name] = value.T if name in transposed else value
    return converted


def paddle_name(name: str) -> str:
    """A tensor's name in PyTorch as Paddle's layers call it."""
    head, dot, last = name.rpartition(".")
    return head + dot + _STATISTICS.get(last, last)


def linear_weights(model: nn.Layer) -> "set[str]":
    """Names of the weights that Paddle stores as [in, out] and PyTorch as [out, in]."""
    return {
        f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)
    }


def _collect(content: Any, path: str, copies: "dict[str, dict[str, np.ndarray]]") -> None:
    if not isinstance(content, Mapping):
        return
    nests = [key for key in (*_NESTS, *_EMA_NESTS) if isinstance(content.get(key), Mapping)]
    for key in nests:
        _collect(content[key], f"{path}.{key}" if path else key, copies)
    if nests:
        return
    tensors = {
        _without_prefix(name): value
        for name, value in content.items()
        if isinstance(name, str)
        and isinstance(value, np.ndarray)
        # Counters of PyTorch's batch norms, which nothing reads.
        and not name.endswith("num_batches_tracked")
    }
    if tensors:
        copies[path] = tensors


def _without_prefix(name: str) -> str:
    prefix: Optional[str] = next((p for p in _PREFIXES if name.startswith(p)), None)
    return name if prefix is None else _without_prefix(name[len(prefix) :])
