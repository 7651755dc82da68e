"""Predict images with an exported model."""

import argparse
import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Union

from ppcls.config.types import NonNegativeInt, PositiveInt
from ppcls.errors import ConfigError

if TYPE_CHECKING:
    from ppcls.inference import Predictor


@dataclass(frozen=True)
class PredictionOptions:
    """Settings of a prediction, under PaddleClas's names."""

    #: An image, a folder of images, a URL, or a list of them.
    infer_imgs: Optional[Union[str, list[str]]] = None
    #: The folder that `tools/export_model.py` wrote.
    inference_model_dir: str = "./inference"
    batch_size: PositiveInt = 1
    use_gpu: bool = False
    #: Paddle Inference on CPUs: use oneDNN.
    enable_mkldnn: bool = True
    cpu_num_threads: PositiveInt = 1
    #: PaddleClas's way to choose. True: ONNX Runtime; false: Paddle Inference; null: `engine`.
    use_onnx: Optional[bool] = None
    #: auto: the fastest on this machine of what the folder holds, measured once.
    engine: Literal["auto", "paddle", "onnxruntime", "openvino"] = "auto"
    #: Other than fp32, ONNX Runtime has fp16 and int8, OpenVINO bf16 and int8.
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    #: Download images that are named by URL.
    allow_urls: bool = False
    #: Classes per prediction; 0 keeps the exported postprocess.
    topk: NonNegativeInt = 0


@dataclass(frozen=True)
class PredictionSections:
    """The whole configuration; preprocessing is not part of it, it travels with the export."""

    Global: PredictionOptions = field(default_factory=PredictionOptions)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", help="YAML with a Global section (none: defaults)")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="override a value, e.g. -o Global.infer_imgs=photo.jpg; repeatable",
    )
    parser.add_argument(
        "--engine", help="as -o Global.engine=...: auto, paddle, onnxruntime, openvino"
    )
    parser.add_argument("--precision", help="as -o Global.precision=...: fp32, bf16, fp16, int8")
    parser.add_argument("--output", help="also write the predictions to this .jsonl or .csv file")


def run(arguments: argparse.Namespace) -> int:
    overrides = list(arguments.override)
    for key in ("engine", "precision"):
        if getattr(arguments, key) is not None:
            overrides.append(f"Global.{key}={getattr(arguments, key)}")
    options = load_options(arguments.config, overrides)
    if not options.infer_imgs:
        raise ConfigError("Global.infer_imgs: name an image or a folder of images")
    predictor = _create_predictor(options)
    columns = ("file_name", *predictor.postprocess.columns, "error")
    with _open_output(arguments.output, columns) as write:
        count = failed = 0
        for result in predictor.predict_iter(options.infer_imgs):
            print(format_result(result), flush=True)
            write(result)
            count += 1
            failed += "error" in result
    print(f"predicted {count - failed} of {count} images")
    return 1 if failed else 0


def load_options(
    path: "Optional[Union[str, Path]]" = None, overrides: "Optional[list[str]]" = None
) -> PredictionOptions:
    """The checked `Global` section of a prediction's YAML file, or the defaults without one.

    Raises:
        ConfigError: the file cannot be read or has faults; lists every fault.
    """
    from ppcls.config import apply_overrides, load_yaml
    from ppcls.config.schema import Faults, check_mapping, signature_schema

    config = apply_overrides(load_yaml(path) if path else {}, overrides or ())
    faults = Faults()
    schema, _ = signature_schema(PredictionSections)
    checked = check_mapping(schema, config, path="", faults=faults)
    if faults.messages:
        lines = "\n".join(f"  {message}" for message in faults.messages)
        raise ConfigError(f"{path or 'the overrides'}: {len(faults.messages)} fault(s)\n{lines}")
    return PredictionOptions(**checked.get("Global", {}))


def format_result(result: "dict[str, Any]") -> str:
    """One prediction in the format of PaddleClas's `predict_cls.py`, without the line end."""
    name = Path(result["file_name"]).name
    if "error" in result:
        return f"{name}:\terror: {result['error']}"
    if "attributes" in result:
        said = {key: value for key, value in result.items() if key != "file_name"}
        return f"{name}:\t {said}"
    scores = ", ".join(f"{score:.2f}" for score in result["scores"])
    labels = result.get("label_names", [])
    return (
        f"{name}:\tclass id(s): {result['class_ids']}, score(s): [{scores}], "
        f"label_name(s): {labels}"
    )


def _create_predictor(options: PredictionOptions) -> "Predictor":
    from ppcls.inference import Predictor

    engine = {None: options.engine, True: "onnxruntime", False: "paddle"}[options.use_onnx]
    if options.engine not in ("auto", engine):
        raise ConfigError(
            f"Global.use_onnx: {options.use_onnx} means the engine '{engine}', but Global.engine "
            f"is '{options.engine}'; set one of them"
        )
    return Predictor(
        options.inference_model_dir,
        engine=engine,
        batch_size=options.batch_size,
        device="gpu" if options.use_gpu else "cpu",
        threads=options.cpu_num_threads,
        topk=options.topk or None,
        use_onednn=options.enable_mkldnn,
        precision=options.precision,
        allow_urls=options.allow_urls,
    )


@contextmanager
def _open_output(
    path: Optional[str], columns: "tuple[str, ...]"
) -> "Iterator[Callable[[dict[str, Any]], Any]]":
    """Yields what writes one prediction to `path` (to nowhere without one)."""
    if path is None:
        yield lambda result: None
        return
    suffix = Path(path).suffix.lower()
    if suffix not in (".jsonl", ".csv"):
        raise ConfigError(f"--output {path}: expected a name that ends in .jsonl or .csv")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            yield lambda result: file.write(json.dumps(result, ensure_ascii=False) + "\n")
        else:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            yield lambda result: writer.writerow(_cells(result))


def _cells(result: "dict[str, Any]") -> "dict[str, str]":
    """A row of CSV; lists as JSON, since a label's name may hold any separator."""
    return {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for key, value in result.items()
    }
