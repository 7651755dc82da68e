"""Export: write, compare with the model it came from, and only then put into place."""

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle

from ppcls.arch.complexity import count_complexity
from ppcls.arch.fusion import fuse_for_inference
from ppcls.engine.export_comparison import (
    FP16_TOLERANCE,
    TOLERANCE,
    Comparison,
    compare,
    largest_errors,
)
from ppcls.engine.onnx_file import PACKAGES, write_onnx, write_onnx_fp16
from ppcls.errors import ConfigError, ExportError
from ppcls.inference.model_dir import (
    DESCRIPTION,
    LEGACY_PROGRAM,
    ONNX,
    ONNX_FP16,
    ONNX_INT8,
    PARAMS,
    PROGRAM,
    REPORT,
    STEM,
    Description,
    data_file,
)
from ppcls.loss.base import main_logits
from ppcls.utils import atomic
from ppcls.utils.hashing import sha256_of

FORMATS = ("pir", "legacy", "onnx", "onnx_fp16")
OUTPUTS = ("prob", "logits", "topk")


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and how far each engine's output is from the model's."""

    folder: Path
    files: "list[Path]"
    #: Engine -> largest absolute error, relative to the largest output.
    errors: "dict[str, float]"
    comparisons: "list[Comparison]"


class _ExportedModel(paddle.nn.Layer):
    """The model as deployed: probabilities, logits, or the best probabilities and their classes."""

    def __init__(self, model: paddle.nn.Layer, description: Description):
        super().__init__()
        self.model = model
        self.activation = None if description.output == "logits" else description.activation
        self.topk = description.postprocess["topk"] if description.output == "topk" else None

    def forward(self, images: paddle.Tensor) -> "Union[paddle.Tensor, tuple[paddle.Tensor, ...]]":
        outputs = main_logits(self.model(images))
        if self.activation == "softmax":
            outputs = paddle.nn.functional.softmax(outputs, axis=-1)
        elif self.activation == "sigmoid":
            outputs = paddle.nn.functional.sigmoid(outputs)
        if self.topk is not None:
            return paddle.topk(outputs, k=self.topk, axis=-1)
        return outputs


def export_model(
    model: paddle.nn.Layer,
    folder: Union[str, Path],
    description: Description,
    formats: Sequence[str] = ("pir",),
    opset: int = 13,
    images: Optional[np.ndarray] = None,
    fold: bool = True,
    simplify: bool = True,
) -> ExportReport:
    """Exports `model` for deployment, with any batch size or that of `description`.

    Args:
        model: takes (B, C, H, W) float32.
        folder: receives the files; what an older export left there is replaced on success only.
        description: what `inference.yml` will say.
        formats: "pir" (`inference.json`), "legacy" (`inference.pdmodel`; Paddle must have been
            imported with FLAGS_enable_pir_api=0), "onnx" (beside either), "onnx_fp16" (beside
            "onnx", which it includes).
        opset: ONNX operator set.
        images: real images (N, C, H, W) to compare on, besides random ones.
        fold: write fewer operators that compute the same (`ppcls.arch.fusion`).
        simplify: simplify the ONNX file, where onnxslim is installed.

    Raises:
        ExportError: a file was not written, or an engine's output differs from the model's by more
            than its tolerance (see `ppcls.engine.export_comparison`).
        ConfigError: the formats exclude each other, or a package is missing.
    """
    if "onnx_fp16" in formats and "onnx" not in formats:
        formats = (*formats, "onnx")
    _check_formats(formats)
    _check_output(description)
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    exported = _ExportedModel(model, description)
    exported.eval()
    description.weights_sha256 = _weights_sha256(model)
    description.versions = _versions(formats)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # It computes the same in fewer operators; it is compared with `exported`.
        deployed = _ExportedModel(fuse_for_inference(model), description) if fold else exported
        deployed.eval()
        write_program(deployed, staging, description.image_shape, description.batch_size)
        facts = {"folded": fold}
        if "onnx" in formats:
            facts["onnx"] = write_onnx(staging, opset, simplify, description)
        if "onnx_fp16" in formats:
            write_onnx_fp16(staging)
        description.write(staging)
        comparisons = compare(exported, staging, formats, description, images)
        cost = count_complexity(model, tuple(description.image_shape))
        facts.update(parameters=cost.parameters, macs=cost.total_macs)
        _write_report(staging, description, facts, comparisons)
        files = _move_into_place(staging, folder, description)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if was_training:
            model.train()
    return ExportReport(folder, files, largest_errors(comparisons), comparisons)


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError(f"unknown export format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if "legacy" in formats and "pir" in formats:
        raise ConfigError(
            "one process can write one program format: export 'pir' and 'legacy' in two runs, "
            "into two folders"
        )
    if "legacy" in formats and paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
        raise ConfigError(
            "the legacy format needs FLAGS_enable_pir_api=0 in the environment before Paddle is "
            "imported (tools/export_model.py --format legacy sets it)"
        )


def _check_output(description: Description) -> None:
    if description.output not in OUTPUTS:
        raise ConfigError(
            f"unknown output {description.output!r} of an export; known: {', '.join(OUTPUTS)}"
        )
    name = description.postprocess.get("name")
    if description.output == "topk" and "topk" not in description.postprocess:
        raise ConfigError(
            f"the output 'topk' goes with the postprocesses Topk and MultiLabelTopk and their "
            f"`topk`; Infer.PostProcess is {name}: export 'prob'"
        )


def write_program(
    exported: paddle.nn.Layer,
    folder: Path,
    image_shape: Sequence[int],
    batch_size: Optional[int] = None,
) -> None:
    """Writes the program of a layer, for (B, *image_shape) with any B or one, and its weights."""
    spec = paddle.static.InputSpec([batch_size, *image_shape], dtype="float32", name="x")
    static = paddle.jit.to_static(exported, input_spec=[spec], full_graph=True)
    try:
        paddle.jit.save(static, str(folder / STEM))
    finally:
        # to_static replaces the layer's forward in place.
        if hasattr(exported.forward, "rollback"):
            exported.forward.rollback()
    is_pir = paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
    for suffix in (PROGRAM if is_pir else LEGACY_PROGRAM, PARAMS):
        if not (folder / f"{STEM}{suffix}").exists():
            raise ExportError(f"Paddle did not write {STEM}{suffix}")


def _write_report(
    folder: Path,
    description: Description,
    facts: "dict[str, Any]",
    comparisons: "list[Comparison]",
) -> None:
    files = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.iterdir())
    }
    report = {
        "model_name": description.model_name,
        "image_shape": description.image_shape,
        "batch_size": description.batch_size,
        "output": description.output,
        "weights_sha256": description.weights_sha256,
        "versions": description.versions,
        **facts,
        "tolerance": {"fp32": TOLERANCE, "fp16": FP16_TOLERANCE},
        "max_relative_error": largest_errors(comparisons),
        "comparisons": [one._asdict() for one in comparisons],
        "files": files,
    }
    atomic.write_text(folder / REPORT, json.dumps(report, indent=1))


def _move_into_place(staging: Path, folder: Path, description: Description) -> "list[Path]":
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DESCRIPTION).exists():
        try:
            same_program = _is_same_program(Description.read(folder), description)
        except ConfigError:
            same_program = False
        if not same_program:
            for suffix in (PROGRAM, LEGACY_PROGRAM, PARAMS, ONNX, ONNX_FP16, ONNX_INT8):
                path = folder / f"{STEM}{suffix}"
                path.unlink(missing_ok=True)
                data_file(path).unlink(missing_ok=True)
    # The order of the tensors in .pdiparams belongs to one program: the other must not stay beside.
    for suffix in (PROGRAM, LEGACY_PROGRAM):
        if not (staging / f"{STEM}{suffix}").exists():
            (folder / f"{STEM}{suffix}").unlink(missing_ok=True)
    moved = []
    for path in sorted(staging.iterdir()):
        path.replace(folder / path.name)
        if not data_file(path).exists():
            data_file(folder / path.name).unlink(missing_ok=True)
        moved.append(folder / path.name)
    return moved


def _is_same_program(one: Description, other: Description) -> bool:
    """Whether files of both exports may stand in one folder under one `inference.yml`."""
    names = ("model_name", "image_shape", "batch_size", "output", "activation", "weights_sha256")
    if "topk" in (one.output, other.output) and one.postprocess != other.postprocess:
        return False
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _weights_sha256(model: paddle.nn.Layer) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _versions(formats: Sequence[str]) -> "dict[str, str]":
    from ppcls import __version__

    versions = {"logoclas": __version__, "paddle": paddle.__version__}
    if "onnx" in formats:
        for package in PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(package)
    return versions
