"""Old places of PaddleClas keys, moved to the one place the rest of the code reads."""

from typing import Any

BEFORE_2_2 = (
    "ARCHITECTURE: this is a configuration of PaddleClas before version 2.2; write it anew with "
    "the sections Global, Arch, Loss, Optimizer, DataLoader and Metric (see configs/quick_start)"
)

_NO_KEYS_OF_LR = ("epochs", "step_each_epoch", "verbose")


def move_old_keys(config: "dict[str, Any]") -> "dict[str, Any]":
    """`config` with keys from where older PaddleClas files keep them moved to where they belong.

    - `Global.class_num` -> `Arch.class_num`
    - `Global.ema` (with `enable: true`) -> `EMA`
    - `AMP.amp_level` -> `AMP.level`, `AMP.use_pure_fp16: true` -> `AMP.level: O2`
    - `DataLoader.*.dataset.batch_transform_ops` -> `DataLoader.*.batch_transform_ops`

    A key present in both places is left for the check to report. What PaddleClas overwrites by that
    of the run is dropped: `Optimizer.lr.epochs`, `Optimizer.lr.step_each_epoch`, and `class_num` of
    batch operators. So is `Optimizer.lr.verbose`: the log has the rate in every line.
    """
    config = dict(config)
    global_section, arch = config.get("Global"), config.get("Arch")
    if isinstance(global_section, dict) and isinstance(arch, dict) and "class_num" not in arch:
        config["Global"], config["Arch"] = _moved(global_section, arch, "class_num")
    _move_ema(config)
    if isinstance(config.get("AMP"), dict):
        config["AMP"] = _with_new_level(config["AMP"])
    optimizer = config.get("Optimizer")
    if isinstance(optimizer, dict) and isinstance(optimizer.get("lr"), dict):
        lr = {key: value for key, value in optimizer["lr"].items() if key not in _NO_KEYS_OF_LR}
        config["Optimizer"] = {**optimizer, "lr": lr}
    loaders = config.get("DataLoader")
    if isinstance(loaders, dict):
        config["DataLoader"] = {key: _move_batch_ops(split) for key, split in loaders.items()}
    return config


def _move_ema(config: "dict[str, Any]") -> None:
    section = config.get("Global")
    if not isinstance(section, dict) or "EMA" in config:
        return
    if isinstance(section.get("ema"), dict) and "enable" in section["ema"]:
        config["Global"] = {key: value for key, value in section.items() if key != "ema"}
        options = {key: value for key, value in section["ema"].items() if key != "enable"}
        if section["ema"]["enable"]:
            config["EMA"] = options


def _with_new_level(amp: "dict[str, Any]") -> "dict[str, Any]":
    if "level" in amp:
        return amp
    rest = {key: amp[key] for key in amp if key not in ("amp_level", "use_pure_fp16")}
    if "amp_level" in amp:
        return {**rest, "level": amp["amp_level"]}
    return {**rest, "level": "O2"} if amp.get("use_pure_fp16") is True else rest


def _move_batch_ops(split: Any) -> Any:
    if not isinstance(split, dict) or not isinstance(split.get("dataset"), dict):
        return split
    if split.get("batch_transform_ops") is None:
        dataset, split = _moved(split["dataset"], split, "batch_transform_ops")
        split = {**split, "dataset": dataset}
    operators = split.get("batch_transform_ops")
    if isinstance(operators, list):
        split = {**split, "batch_transform_ops": [_without_class_num(op) for op in operators]}
    return split


def _without_class_num(operator: Any) -> Any:
    if not isinstance(operator, dict):
        return operator
    return {
        name: {key: value for key, value in arguments.items() if key != "class_num"}
        if isinstance(arguments, dict)
        else arguments
        for name, arguments in operator.items()
    }


def _moved(
    source: "dict[str, Any]", target: "dict[str, Any]", key: str
) -> "tuple[dict[str, Any], dict[str, Any]]":
    if key not in source:
        return source, target
    rest = {name: value for name, value in source.items() if name != key}
    return rest, {**target, key: source[key]}
