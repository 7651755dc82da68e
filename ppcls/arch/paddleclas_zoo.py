"""Baselines: the backbones of the PyPI package `paddleclas`, when it is installed.

`ppcls.registry.ARCHS` asks this module for names that are not ours. Names are read from the
package's source, so that only a backbone that is really wanted costs its import (seconds).
"""

import ast
import functools
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from ppcls.errors import ConfigError, did_you_mean
from ppcls.utils.logger import logger

_INSTALL = 'pip install "logoclas[paddleclas]"'


def names() -> "list[str]":
    """Names of the backbones that `paddleclas` offers; none when it is not installed."""
    return list(_modules())


def find(name: str) -> "Optional[Callable[..., Any]]":
    """The constructor of a `paddleclas` backbone, or None if that package has no such backbone.

    Raises:
        ConfigError: `paddleclas` is not installed, so nobody knows; or it cannot be imported.
    """
    if importlib.util.find_spec("paddleclas") is None:
        from ppcls.registry import ARCHS

        raise ConfigError(
            f"unknown arch '{name}'{did_you_mean(name, ARCHS.names())} (backbones of PaddleClas "
            f"are found once its package is installed: {_INSTALL})"
        )
    module = _modules().get(name)
    return None if module is None else getattr(import_module(module), name)


@functools.lru_cache(maxsize=1)
def _modules() -> "dict[str, str]":
    """Backbone -> full name of its module, as imported by `paddleclas.ppcls.arch.backbone`."""
    spec = importlib.util.find_spec("paddleclas")
    if spec is None or not spec.submodule_search_locations:
        return {}
    package = "paddleclas.ppcls.arch.backbone"
    folder = Path(spec.submodule_search_locations[0], *package.split(".")[1:])
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: f"{package}.{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def import_module(module: str) -> Any:
    """A module of `paddleclas`; `ConfigError` when it is not installed or cannot be imported."""
    # Importing paddleclas puts a handler of its own on the logger "ppcls": every line of ours
    # would appear twice.
    state = logger.handlers[:], logger.level, logger.propagate
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("paddleclas"):
            raise ConfigError(f"paddleclas needs a package that is missing: {error}") from error
        raise ConfigError(f"paddleclas is not installed: {_INSTALL}") from error
    except ImportError as error:
        raise ConfigError(f"paddleclas is installed but cannot be imported: {error}") from error
    finally:
        logger.handlers[:], logger.level, logger.propagate = state
