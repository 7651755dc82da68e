"""Names of layers and parameters, `blocks1.0.conv1.weight`, and patterns that they match."""

import fnmatch


def is_within(name: str, pattern: str) -> bool:
    """Whether a dotted name, or something it is in, matches a shell pattern, level by level."""
    names, patterns = name.split("."), pattern.split(".")
    return len(names) >= len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


def outermost(names: "list[str]") -> "list[str]":
    """The first level of each name, each once, in order."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))
