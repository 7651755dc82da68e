"""Which engine is the fastest here: measured once per machine and model, then remembered."""

import hashlib
import importlib.metadata
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple, Union

import numpy as np

from ppcls.errors import ConfigError
from ppcls.inference.model_dir import (
    LEGACY_PROGRAM,
    ONNX,
    ONNX_OF,
    PARAMS,
    PROGRAM,
    Description,
    data_file,
    find_file,
    find_program,
)
from ppcls.utils import atomic
from ppcls.utils.cache import cache_folder
from ppcls.utils.hashing import sha256_of
from ppcls.utils.logger import logger
from ppcls.utils.processor import describe_processor

#: Largest distance between engines in fp32, relative to the largest output; that of an export.
TOLERANCE = 1e-4
_ROUNDS = 5
_PACKAGES = {
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
}


class Measurement(NamedTuple):
    """An engine's output on the test batch, and its fastest run."""

    output: np.ndarray
    seconds: float


def choose_engine(
    folder: Union[str, Path],
    device: str = "cpu",
    threads: int = 1,
    use_onednn: bool = True,
    precision: str = "fp32",
    batch_size: int = 1,
) -> str:
    """The name of the fastest engine for the model in `folder` on this machine.

    Every engine whose file and package are here runs the same batch, in turns. One whose output
    is not that of the others is left out, whatever its speed. The result is kept in the cache
    folder until a file, a package, the processor or a setting changes.

    Raises:
        ConfigError: no engine can run the model, or those that can do not agree.
    """
    names = _candidates(folder, device, precision)
    if not names:
        if precision == "fp32" and find_file(folder, ONNX) is None:
            find_program(folder)  # It names the file that is missing.
        raise ConfigError(
            f"{folder} holds nothing that can run on the device '{device}' with precision "
            f"'{precision}' by the packages that are installed (paddlepaddle, onnxruntime, "
            "openvino); install one, or make its file with tools/export_model.py"
        )
    if len(names) == 1:
        return names[0]
    settings = {
        "device": device,
        "threads": threads,
        "use_onednn": use_onednn,
        "precision": precision,
        "batch_size": batch_size,
    }
    cached = _cache_file(Path(folder), names, settings)
    if cached.exists():
        return json.loads(cached.read_text(encoding="utf-8"))["engine"]
    measured = _measure(folder, names, **settings)
    # Other precisions are approximations, each engine's its own: their outputs must be finite.
    tolerance = TOLERANCE if precision == "fp32" else math.inf
    agreeing = _largest_agreement({n: m.output for n, m in measured.items()}, tolerance)
    if len(agreeing) < min(2, len(measured)):
        raise ConfigError(
            f"no two engines of {', '.join(measured)} give the same output for {folder} on this "
            "machine; choose one by its name, and check it with tools/eval.py --model_dir"
        )
    chosen = min(agreeing, key=lambda name: measured[name].seconds)
    milliseconds = {
        name: round(1000 * m.seconds / batch_size, 2) for name, m in sorted(measured.items())
    }
    _announce(chosen, milliseconds, set(measured) - set(agreeing), batch_size, threads)
    content = {"engine": chosen, "ms_per_image": milliseconds, **settings}
    atomic.write_text(cached, json.dumps(content, indent=1))
    return chosen


def _candidates(folder: Union[str, Path], device: str, precision: str) -> "list[str]":
    has_program = find_file(folder, PARAMS) is not None and any(
        find_file(folder, suffix) for suffix in (PROGRAM, LEGACY_PROGRAM)
    )
    has_onnx = find_file(folder, ONNX_OF[precision]) is not None
    names = {
        "paddle": has_program and precision == "fp32",
        "onnxruntime": has_onnx and precision != "bf16",
        "openvino": has_onnx and device == "cpu" and precision != "fp16",
    }
    return [name for name, has_files in names.items() if has_files and versions_of(name)]


def versions_of(engine: str) -> "list[str]":
    """Name and version of each installed package that brings the engine."""
    found = []
    for package in _PACKAGES[engine]:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cache_file(folder: Path, names: "list[str]", settings: "dict[str, Any]") -> Path:
    suffixes = {PROGRAM, LEGACY_PROGRAM, PARAMS, ONNX_OF[settings["precision"]]}
    files = sorted(path for suffix in suffixes if (path := find_file(folder, suffix)))
    files += [data for path in files if (data := data_file(path)).exists()]
    key = {
        "files": {path.name: sha256_of(path) for path in files},
        "versions": {name: versions_of(name) for name in names},
        "processor": describe_processor(),
        **settings,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "engines" / f"{digest[:32]}.json"


def _measure(
    folder: Union[str, Path],
    names: "list[str]",
    device: str,
    threads: int,
    use_onednn: bool,
    precision: str,
    batch_size: int,
) -> "dict[str, Measurement]":
    """What each engine computes and how fast; engines that cannot run are left out."""
    from ppcls.inference.engines import create_engine

    shape = (batch_size, *Description.read(folder).image_shape)
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    engines, outputs, problems = {}, {}, []
    for name in names:
        try:
            engine = create_engine(folder, name, device, threads, use_onednn, precision)
            outputs[name] = engine.run(batch)
        # Whatever a library raises for a program that it cannot run.
        except (ConfigError, RuntimeError, NotImplementedError, ValueError) as error:
            problems.append(f"{name}: {str(error).strip().splitlines()[-1]}")
            continue
        engines[name] = engine
    for problem in problems:
        logger.warning(f"engine 'auto' leaves out {problem}")
    if not engines:
        raise ConfigError(f"no engine can run {folder}: {'; '.join(problems)}")
    seconds = dict.fromkeys(engines, float("inf"))
    # In turns, so that other work on the machine slows all of them or none.
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(batch)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {name: Measurement(outputs[name], seconds[name]) for name in engines}


def _largest_agreement(outputs: "dict[str, np.ndarray]", tolerance: float) -> "list[str]":
    """The names in the largest group whose outputs are the same within `tolerance`."""
    groups = [
        [other for other in outputs if _distance(outputs[name], outputs[other]) <= tolerance]
        for name in outputs
    ]
    return max(groups, key=len)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-30))


def _announce(
    chosen: str,
    milliseconds: "dict[str, float]",
    wrong: "set[str]",
    batch_size: int,
    threads: int,
) -> None:
    times = ", ".join(f"{name} {value} ms" for name, value in milliseconds.items())
    logger.info(
        f"engine 'auto' chose {chosen}, the fastest here with batch {batch_size} and {threads} "
        f"thread(s): {times} per image"
    )
    for name in sorted(wrong):
        logger.warning(f"engine 'auto' leaves out {name}: its output is not that of the others")
