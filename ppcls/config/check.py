"""Loading a configuration: read, inherit, override, check, freeze."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from ppcls.config.frozen import freeze, to_plain
from ppcls.config.legacy import BEFORE_2_2, move_old_keys
from ppcls.config.override import try_overrides
from ppcls.config.retrieval import refuse_retrieval
from ppcls.config.schema import Faults, check_mapping, signature_schema
from ppcls.config.sections import ConfigSections
from ppcls.config.yaml_file import load_yaml
from ppcls.errors import ConfigError
from ppcls.utils.atomic import write_text


def load_config(
    path: Union[str, Path], overrides: Optional[Sequence[str]] = None
) -> "dict[str, Any]":
    """The checked, read-only configuration of a YAML file.

    Args:
        path: the YAML file, with or without `_BASE_`.
        overrides: `key.path=value` texts, applied in order.

    Raises:
        ConfigError: the file cannot be read, or the configuration has faults; lists every fault
            with its YAML path, what was received and the closest known name.
    """
    config, faults = try_overrides(load_yaml(path), overrides or ())
    checked, found = check_config(config)
    faults += found
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults))
    return checked


def check_config(config: "dict[str, Any]") -> "tuple[dict[str, Any], list[str]]":
    """Checks a plain configuration; returns it converted and read-only, and its faults."""
    if "ARCHITECTURE" in config:
        return freeze(config), [BEFORE_2_2]
    faults = Faults()
    config, refused = refuse_retrieval(move_old_keys(config), faults)
    schema, _ = signature_schema(ConfigSections)
    schema = {section: schema[section] for section in schema if section not in refused}
    checked = check_mapping(schema, config, path="", faults=faults)
    return freeze(checked), faults.messages


def save_config(config: "dict[str, Any]", path: Union[str, Path]) -> None:
    """Writes a resolved configuration that `load_config` reads back to the same one."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_text(path, text)
