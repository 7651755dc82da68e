"""Models: `build_model`, the families under `backbone/`, layers, necks and published weights.

Names are loaded on first use, so that `ppcls.arch.options` and `ppcls.arch.pretrained` can be read
without Paddle.
"""

import importlib
from typing import Any

_EXPORTS = {
    "ArchOptions": "ppcls.arch.options",
    "FeaturePyramid": "ppcls.arch.base",
    "Model": "ppcls.arch.base",
    "build_model": "ppcls.arch.build",
    "list_models": "ppcls.arch.build",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
