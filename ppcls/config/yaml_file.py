"""Reading one YAML configuration with its `_BASE_` chain.

`_BASE_: base.yaml` (or a list of files) names what a file builds on, relative to that file.
Mappings are merged key by key, everything else (lists too) is replaced by the later file. A mapping
that holds `_REPLACE_: true` replaces the base's mapping instead of being merged into it.
"""

import re
from pathlib import Path
from typing import Any, Union

import yaml

from ppcls.errors import ConfigError

BASE_KEY = "_BASE_"
REPLACE_KEY = "_REPLACE_"


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> "dict[Any, Any]":
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int)) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            if isinstance(key, (str, int)):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


# PyYAML follows YAML 1.1, for which `1e-5` and `1.0e5` are texts.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z"),
    list("-+0123456789"),
)


def parse_yaml(text: str, origin: str) -> Any:
    """Parses YAML text; `ConfigError` naming `origin`, line and column when it is malformed."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{origin}{where}: not valid YAML: {reason}") from error


def load_yaml(path: Union[str, Path]) -> "dict[str, Any]":
    """Loads a YAML file and everything it is based on into one plain dict.

    Raises:
        ConfigError: a file is missing, unreadable or malformed, or bases form a cycle.
    """
    return _load(Path(path), chain=())


def _load(path: Path, chain: "tuple[Path, ...]") -> "dict[str, Any]":
    resolved = path.resolve()
    if resolved in chain:
        cycle = " -> ".join(str(p) for p in (*chain[chain.index(resolved) :], resolved))
        raise ConfigError(f"{BASE_KEY} forms a cycle: {cycle}")
    based_on = f" (named by {BASE_KEY} in {chain[-1]})" if chain else ""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist{based_on}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read{based_on}: {error}") from error
    content = parse_yaml(text, origin=str(path))
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected sections (`Global:`, `Arch:`, ...), found {content!r}")

    bases = content.pop(BASE_KEY, [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {BASE_KEY} must be a path or a list of paths, found {bases!r}")
    merged: dict[str, Any] = {}
    for base in bases:
        merged = merge(merged, _load(path.parent / base, (*chain, resolved)))
    return merge(merged, content)


def merge(base: "dict[str, Any]", override: "dict[str, Any]") -> "dict[str, Any]":
    """`base` with `override` laid over it; neither is changed."""
    if override.get(REPLACE_KEY):
        base = {}
    merged = dict(base)
    for key, value in override.items():
        if key == REPLACE_KEY:
            continue
        if isinstance(value, dict):
            below = merged.get(key)
            value = merge(below if isinstance(below, dict) else {}, value)
        merged[key] = value
    return merged
