"""What an `Arch` section may name besides our own models: compositions, and `paddleclas` backbones.

`ppcls.registry.ARCHS` asks this module for names that are not registered.
"""

import importlib
from collections.abc import Callable
from typing import Any, Optional

from ppcls.arch import paddleclas_zoo

_COMPOSITIONS = {
    "DistillationModel": "ppcls.arch.distillation",
    "AttentionModel": "ppcls.arch.distillation",
    "LinearTransformTeacher": "ppcls.arch.attention_transfer",
    "LinearTransformStudent": "ppcls.arch.attention_transfer",
}


def names() -> "list[str]":
    """Names of compositions and of the backbones of an installed `paddleclas`."""
    return [*_COMPOSITIONS, *paddleclas_zoo.names()]


def find(name: str) -> "Optional[Callable[..., Any]]":
    """The component called `name`, or None; see `paddleclas_zoo.find`."""
    if name in _COMPOSITIONS:
        return getattr(importlib.import_module(_COMPOSITIONS[name]), name)
    return paddleclas_zoo.find(name)
