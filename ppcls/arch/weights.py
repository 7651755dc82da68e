"""Putting tensors into a model, with an account of what did not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.base import Model
from ppcls.errors import CheckpointError
from ppcls.utils.text import shorten_list

#: Names of the classifier in models that do not say so themselves (those of `paddleclas`).
_USUAL_HEADS = ("head", "fc", "classifier", "out", "aux_head", "head_dist")
_LISTED = 8


@dataclass
class LoadReport:
    """Names of tensors, by what became of them."""

    loaded: "list[str]" = field(default_factory=list)
    #: Of the classifier, left as they were because the caller asked for it.
    skipped: "list[str]" = field(default_factory=list)
    #: In the model only.
    missing: "list[str]" = field(default_factory=list)
    #: In the file only.
    unexpected: "list[str]" = field(default_factory=list)
    #: In both, with different shapes: name -> (shape in the model, shape in the file).
    mismatched: "dict[str, tuple[list[int], list[int]]]" = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether every tensor had its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return self.describe(_LISTED)

    def describe(self, limit: Optional[int] = None) -> str:
        """What became of the tensors, with up to `limit` names of a kind (all by default)."""
        lines = [f"{len(self.loaded)} tensors fit"]
        for what, names in [
            ("skipped with the classifier", self.skipped),
            ("missing in the file", self.missing),
            ("unknown to the model", self.unexpected),
        ]:
            if names:
                lines.append(f"{len(names)} {what}: {shorten_list(names, limit)}")
        if self.mismatched:
            shapes = [
                f"{name} (model {ours}, file {theirs})"
                for name, (ours, theirs) in self.mismatched.items()
            ]
            lines.append(f"{len(shapes)} of another shape: {shorten_list(shapes, limit)}")
        return "\n".join(lines)


def load_weights(
    model: nn.Layer,
    tensors: "Mapping[str, np.ndarray]",
    source: str = "the weights",
    ignore_head: bool = False,
    strict: bool = True,
    list_all: bool = False,
) -> LoadReport:
    """Copies `tensors` into the parameters and buffers of `model` that have the same names.

    Args:
        model: any layer; nothing in it changes when the tensors are refused.
        tensors: arrays by structured name.
        source: what messages call the tensors, usually a path.
        ignore_head: leave the classifier as it is and ignore the one in `tensors`.
        strict: refuse tensors that do not fit one to one; otherwise those that fit are loaded.
        list_all: name every tensor in the error, not the first few of a kind.

    Raises:
        CheckpointError: with `strict`, lists the tensors that are missing, unknown or of another
            shape; without, when no tensor fits at all.
    """
    if isinstance(model, Model):
        tensors = model.fit_tables(dict(tensors))
    own = model.state_dict()
    report = LoadReport()
    heads = getattr(model, "head_layers", _USUAL_HEADS) if ignore_head else ()
    for name in {**own, **tensors}:
        if _belongs(name, heads):
            report.skipped.append(name)
        elif name not in tensors:
            report.missing.append(name)
        elif name not in own:
            report.unexpected.append(name)
        elif list(own[name].shape) != list(tensors[name].shape):
            report.mismatched[name] = (list(own[name].shape), list(tensors[name].shape))
        else:
            report.loaded.append(name)
    if (strict and not report.fits) or not report.loaded:
        raise CheckpointError(
            f"{source}: the tensors do not fit the model{_advice(report, model)}\n"
            + report.describe(None if list_all else _LISTED)
        )
    for name in report.loaded:
        # `to_tensor` reads uint16, as which Paddle saves bfloat16, as bfloat16.
        own[name].set_value(paddle.cast(paddle.to_tensor(tensors[name]), own[name].dtype))
    return report


def _advice(report: LoadReport, model: nn.Layer) -> str:
    heads = getattr(model, "head_layers", _USUAL_HEADS)
    odd = [*report.missing, *report.unexpected, *report.mismatched]
    if odd and all(_belongs(name, heads) for name in odd):
        return (
            ": the classifier is of another size. Set class_num to that of the weights, or "
            "`ignore_head: true` to load everything else"
        )
    return ""


def _belongs(name: str, layers: "Sequence[str]") -> bool:
    """Whether a tensor is of one of these sub-layers (or is one of these parameters)."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)
