"""Configurations: YAML with inheritance, overrides and a schema taken from signatures."""

from ppcls.config.check import check_config, load_config, save_config
from ppcls.config.frozen import freeze, to_plain
from ppcls.config.override import apply_overrides
from ppcls.config.yaml_file import load_yaml

__all__ = [
    "apply_overrides",
    "check_config",
    "freeze",
    "load_config",
    "load_yaml",
    "save_config",
    "to_plain",
]
