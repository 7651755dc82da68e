"""Overrides from the command line: `-o Global.epochs=10 -o DataLoader.Train.loader.num_workers=2`.

The part before the first `=` is a path of keys and list indices joined by dots; the part after it
is YAML. A value is data: nothing is evaluated. Whether a key exists is the schema's business
(`ppcls.config.check`), so a new key set here is reported there with the closest known name.
"""

import copy
from collections.abc import Sequence
from typing import Any

from ppcls.config.yaml_file import parse_yaml
from ppcls.errors import ConfigError


def apply_overrides(config: "dict[str, Any]", overrides: Sequence[str]) -> "dict[str, Any]":
    """A copy of `config` with every `key.path=value` of `overrides` applied in order.

    Raises:
        ConfigError: an override has no `=`, or its path does not fit the configuration. Lists all.
    """
    config, faults = try_overrides(config, overrides)
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def try_overrides(
    config: "dict[str, Any]", overrides: Sequence[str]
) -> "tuple[dict[str, Any], list[str]]":
    """As `apply_overrides`, but applies what it can and returns the faults beside the copy."""
    config = copy.deepcopy(config)
    faults = []
    for override in overrides:
        try:
            _apply(config, override)
        except ConfigError as error:
            faults.append(f"-o {override}: {error}")
    return config, faults


def _apply(config: "dict[str, Any]", override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError("expected key.path=value, for example Global.epochs=10")
    value = parse_yaml(text, origin="the value")
    node: Any = config
    for depth, key in enumerate(keys):
        is_last = depth == len(keys) - 1
        here = ".".join(keys[:depth]) or "the configuration"
        if isinstance(node, list):
            node = _step_into_list(node, key, here, is_last, value)
        elif isinstance(node, dict):
            if is_last:
                node[key] = value
            else:
                # A section left empty in YAML (`Arch:`) reads as null.
                if node.get(key) is None:
                    node[key] = {}
                node = node[key]
        else:
            raise ConfigError(f"{here} is the value {node!r}, it has no key '{key}'")


def _step_into_list(node: "list[Any]", key: str, here: str, is_last: bool, value: Any) -> Any:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(
            f"{here} is a list of {len(node)}, expected an index 0..{len(node) - 1}, "
            f"received '{key}'"
        )
    if is_last:
        node[int(key)] = value
    return node[int(key)]
