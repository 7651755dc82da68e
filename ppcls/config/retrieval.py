"""PaddleClas's retrieval configurations: recognised, and refused in a sentence each."""

from typing import Any

from ppcls.config.schema import Faults
from ppcls.registry import RETRIEVAL

_ARCH_PARTS = ("Backbone", "BackboneStopLayer", "Neck", "Head")
_EVAL_PARTS = ("Query", "Gallery")


def refuse_retrieval(
    config: "dict[str, Any]", faults: Faults
) -> "tuple[dict[str, Any], list[str]]":
    """Finds a model of several parts, and evaluation by queries.

    Returns:
        `config` without these, so that their one sentence does not drown in complaints about
        their parts, and the names of the top-level sections left out.
    """
    refused = []
    if _has(config.get("Arch"), _ARCH_PARTS, "Arch", faults):
        refused.append("Arch")
        config = _without(config, "Arch")
    loaders = config.get("DataLoader")
    if isinstance(loaders, dict) and _has(
        loaders.get("Eval"), _EVAL_PARTS, "DataLoader.Eval", faults
    ):
        config = {**config, "DataLoader": _without(loaders, "Eval")}
    options = config.get("Global")
    if isinstance(options, dict) and options.get("eval_mode") == "retrieval":
        faults.add("Global.eval_mode", RETRIEVAL)
        config = {**config, "Global": _without(options, "eval_mode")}
    return config, refused


def _has(section: Any, parts: "tuple[str, ...]", path: str, faults: Faults) -> bool:
    found = [part for part in parts if isinstance(section, dict) and part in section]
    if found:
        faults.add(path, f"{', '.join(found)}: {RETRIEVAL}")
    return bool(found)


def _without(mapping: "dict[str, Any]", key: str) -> "dict[str, Any]":
    return {name: value for name, value in mapping.items() if name != key}
