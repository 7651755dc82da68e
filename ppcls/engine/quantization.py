"""Static quantisation to 8 bits after training, and what it costs and gains as measured here."""

import importlib.metadata
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union

import numpy as np

from ppcls.config import to_plain
from ppcls.config.sections import GlobalOptions
from ppcls.engine.environment import prepare_environment
from ppcls.engine.evaluation import evaluate
from ppcls.engine.onnx_quantizer import CALIBRATIONS, ENGINES, quantize_onnx
from ppcls.errors import ConfigError, ExportError
from ppcls.inference.engines import create_engine
from ppcls.inference.engines.choice import versions_of
from ppcls.inference.model_dir import (
    DESCRIPTION,
    ONNX_INT8,
    STEM,
    Description,
    data_file,
    find_onnx,
)
from ppcls.registry import DATASETS, parse_spec
from ppcls.utils import atomic
from ppcls.utils.logger import logger

REPORT = "quantization_report.json"
_ROUNDS, _WARM_UP_RUNS = 20, 2
#: A speed-up below it is within what repeated measurements differ by.
_LEAST_GAIN = 1.05


class QuantizationReport(NamedTuple):
    """What was measured; accuracies are the results of `tools/eval.py` by name."""

    engine: str
    calibration_images: int
    fp32: "dict[str, float]"
    int8: "dict[str, float]"
    #: Batch size -> median milliseconds per image.
    fp32_ms: "dict[str, float]"
    int8_ms: "dict[str, float]"
    fp32_bytes: int
    int8_bytes: int
    #: One sentence, of nothing but the numbers above.
    verdict: str


def quantize(
    config: "dict[str, Any]",
    model_dir: Union[str, Path],
    engine: str = "auto",
    images: int = 128,
    calibration: str = "minmax",
    max_drop: float = 0.01,
    threads: int = 1,
    batches: Sequence[int] = (1, 8),
) -> QuantizationReport:
    """Writes `inference_int8.onnx` and a report into `model_dir`, if it is accurate enough.

    Args:
        config: checked configuration. `DataLoader.Train` gives the images for calibration, prepared
            as the exported folder says; `DataLoader.Eval` those that both models are evaluated on.
        model_dir: exported with `--format onnx`.
        engine: what the file is made for, and what runs both models for the comparison:
            "onnxruntime", "openvino", or "auto": OpenVINO where it is installed, which gains more.
        images: number of images for calibration, spread over the training set.
        calibration: how ranges follow from activations: "minmax", "entropy" or "percentile".
        max_drop: the largest loss of the first metric that is accepted.
        threads: CPU threads of one run.
        batches: batch sizes whose speed is compared.

    Raises:
        ConfigError: a section, a file or a package is missing.
        ExportError: the first metric dropped by more than `max_drop`; nothing is written.
    """
    _check(config, engine, calibration, images)
    if engine == "auto":
        engine = "openvino" if versions_of("openvino") else "onnxruntime"
    model_dir = Path(model_dir)
    source = find_onnx(model_dir)
    description = Description.read(model_dir)
    if description.batch_size not in (None, 1):
        raise ConfigError(
            f"{model_dir} takes {description.batch_size} images per run, and calibration takes one "
            "at a time: export it without --batch"
        )
    prepare_environment(GlobalOptions(**config.get("Global", {})).device)
    samples = calibration_images(config, description, images)
    logger.info(f"quantising {source} for {engine}, {len(samples)} images for calibration")
    staging = Path(tempfile.mkdtemp(prefix=f".{model_dir.name}.", dir=model_dir.parent))
    try:
        for path in (model_dir / DESCRIPTION, source, data_file(source)):
            if path.exists():
                shutil.copyfile(path, staging / path.name)
        target = staging / f"{STEM}{ONNX_INT8}"
        quantize_onnx(source, target, samples, calibration, engine)
        results = {
            precision: evaluate(config, staging, engine, precision=precision)
            for precision in ("fp32", "int8")
        }
        _check_drop(results["fp32"], results["int8"], _quality(results["fp32"]), max_drop)
        speeds = _measure(staging, engine, threads, batches, samples)
        report = QuantizationReport(
            engine,
            len(samples),
            results["fp32"],
            results["int8"],
            speeds["fp32"],
            speeds["int8"],
            _bytes(source),
            _bytes(target),
            _verdict(speeds["fp32"], speeds["int8"]),
        )
        data_file(model_dir / target.name).unlink(missing_ok=True)
        for path in (target, data_file(target)):
            if path.exists():
                path.replace(model_dir / path.name)
        _write_report(model_dir / REPORT, report, threads)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check(config: "dict[str, Any]", engine: str, calibration: str, images: int) -> None:
    for value, known, what in (
        (engine, ("auto", *ENGINES), "engine"),
        (calibration, CALIBRATIONS, "calibration"),
    ):
        if value not in known:
            raise ConfigError(
                f"unknown {what} '{value}' of quantisation; known: {', '.join(known)}"
            )
    if images < 1:
        raise ConfigError(f"calibration needs at least one image, received {images}")
    loaders = config.get("DataLoader") or {}
    for mode, purpose in (("Train", "calibration"), ("Eval", "the comparison of accuracies")):
        if not loaders.get(mode):
            raise ConfigError(f"DataLoader.{mode}: quantisation takes images for {purpose} from it")


def calibration_images(
    config: "dict[str, Any]", description: Description, count: int
) -> "list[np.ndarray]":
    """Inputs (1, C, H, W) of the model from images spread over the training set.

    They are prepared for evaluation, as the exported folder says, not augmented.
    """
    name, arguments = parse_spec(to_plain(config["DataLoader"]["Train"]["dataset"]))
    arguments = {**arguments, "transform_ops": description.transform_ops}
    arguments.pop("batch_transform_ops", None)
    dataset = DATASETS.build({"name": name, **arguments}, seed=0)
    numbers = np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=np.int64)
    return [dataset[int(number)].image[None] for number in numbers]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, data_file(path)) if file.exists())


def _quality(results: "dict[str, float]") -> str:
    """The name of the first metric, else of the first result."""
    names = [name for name in results if "loss" not in name.lower()]
    return (names or list(results))[0]


def _check_drop(
    fp32: "dict[str, float]", int8: "dict[str, float]", name: str, max_drop: float
) -> None:
    drop = fp32[name] - int8[name]
    if not drop <= max_drop:
        raise ExportError(
            f"int8 is not accurate enough: {name} is {int8[name]:.4f}, {drop:.4f} less than in "
            f"fp32, more than {max_drop}; nothing was written. Try another --calibration or "
            "--engine, more --images, or accept it with --max_drop"
        )


def _measure(
    folder: Path, engine: str, threads: int, batches: Sequence[int], samples: "list[np.ndarray]"
) -> "dict[str, dict[str, float]]":
    """Median milliseconds per image of both precisions, which take turns, on real images."""
    runners = {
        precision: create_engine(folder, engine, threads=threads, precision=precision)
        for precision in ("fp32", "int8")
    }
    speeds: dict[str, dict[str, float]] = {precision: {} for precision in runners}
    for batch in batches:
        images = np.concatenate([samples[i % len(samples)] for i in range(batch)])
        seconds: dict[str, list[float]] = {precision: [] for precision in runners}
        for step in range(_WARM_UP_RUNS + _ROUNDS):
            for precision, runner in runners.items():
                start = time.perf_counter()
                runner.run(images)
                if step >= _WARM_UP_RUNS:
                    seconds[precision].append(time.perf_counter() - start)
        for precision, values in seconds.items():
            speeds[precision][str(batch)] = 1000 * float(np.median(values)) / batch
    return speeds


def _verdict(fp32_ms: "dict[str, float]", int8_ms: "dict[str, float]") -> str:
    parts = []
    for batch, milliseconds in int8_ms.items():
        gain = fp32_ms[batch] / milliseconds
        if gain >= _LEAST_GAIN:
            parts.append(f"{gain:.2f} times faster than fp32 at batch {batch}")
        elif gain > 1 / _LEAST_GAIN:
            parts.append(f"no faster than fp32 at batch {batch}")
        else:
            parts.append(f"{1 / gain:.2f} times SLOWER than fp32 at batch {batch}")
    return "int8 is " + ", ".join(parts) + ", measured on this machine"


def _write_report(path: Path, report: QuantizationReport, threads: int) -> None:
    import onnxruntime

    versions = {"onnxruntime": onnxruntime.__version__}
    if report.engine == "openvino":
        versions["openvino"] = importlib.metadata.version("openvino")
    content = {
        **report._asdict(),
        "threads": threads,
        "versions": versions,
    }
    atomic.write_text(path, json.dumps(content, indent=1))
