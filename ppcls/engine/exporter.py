"""Export: write, compare with the model it came from, and only then put into place."""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np
import paddle

from ppcls.arch.fusion import fuse_for_inference
from ppcls.errors import ConfigError, ExportError
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import (
    DESCRIPTION,
    LEGACY_PROGRAM,
    ONNX,
    PARAMS,
    PROGRAM,
    REPORT,
    STEM,
    Description,
)
from ppcls.loss.base import main_logits
from ppcls.utils import atomic
from ppcls.utils.logger import logger

FORMATS = ("pir", "legacy", "onnx")
TOLERANCE = 1e-4
_CHECKED_BATCHES = (1, 3)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and how far each engine's output is from the model's."""

    folder: Path
    files: "list[Path]"
    #: Engine -> largest absolute error, relative to the largest output.
    errors: "dict[str, float]"


class _ExportedModel(paddle.nn.Layer):
    """The model as deployed: one output, probabilities or logits."""

    def __init__(self, model: paddle.nn.Layer, description: Description):
        super().__init__()
        self.model = model
        self.activation = description.activation if description.output == "prob" else None

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        logits = main_logits(self.model(images))
        if self.activation == "softmax":
            return paddle.nn.functional.softmax(logits, axis=-1)
        return paddle.nn.functional.sigmoid(logits) if self.activation == "sigmoid" else logits


def export_model(
    model: paddle.nn.Layer,
    folder: Union[str, Path],
    description: Description,
    formats: Sequence[str] = ("pir",),
    opset: int = 13,
    images: Optional[np.ndarray] = None,
) -> ExportReport:
    """Exports `model` for deployment, with any batch size.

    Args:
        model: takes (B, C, H, W) float32.
        folder: receives the files; what an older export left there is replaced on success only.
        description: what `inference.yml` will say.
        formats: "pir" (`inference.json`), "legacy" (`inference.pdmodel`; Paddle must have been
            imported with FLAGS_enable_pir_api=0), "onnx" (beside either).
        opset: ONNX operator set.
        images: real images (N, C, H, W) to compare on, besides random ones.

    Raises:
        ExportError: a file was not written, or an engine's output differs from the model's by more
            than `TOLERANCE` of the largest output.
        ConfigError: the formats exclude each other, or a package is missing.
    """
    _check_formats(formats)
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    exported = _ExportedModel(model, description)
    exported.eval()
    description.weights_sha256 = _weights_sha256(model)
    description.versions = _versions(formats)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # What is deployed computes the same in fewer operators; it is compared with `exported`.
        deployed = _ExportedModel(fuse_for_inference(model), description)
        deployed.eval()
        write_program(deployed, staging, description.image_shape)
        if "onnx" in formats:
            write_onnx(staging, opset)
        description.write(staging)
        errors = _compare(exported, staging, formats, description, images)
        _write_report(staging, description, errors)
        files = _move_into_place(staging, folder, description)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if was_training:
            model.train()
    return ExportReport(folder, files, errors)


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


def write_program(exported: paddle.nn.Layer, folder: Path, image_shape: Sequence[int]) -> None:
    """Writes the program of a layer, for (B, *image_shape) with any B, and its weights."""
    spec = paddle.static.InputSpec([None, *image_shape], dtype="float32", name="x")
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


def write_onnx(folder: Path, opset: int) -> None:
    """Converts the program in `folder` to `inference.onnx` beside it."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 (the comparison needs it)
        import paddle2onnx
    except ImportError as error:
        raise ConfigError(
            f'export to ONNX needs {error.name}: pip install "logoclas[onnx]"'
        ) from error
    path = folder / f"{STEM}{ONNX}"
    program = next(
        folder / f"{STEM}{suffix}"
        for suffix in (PROGRAM, LEGACY_PROGRAM)
        if (folder / f"{STEM}{suffix}").exists()
    )
    # optimize_tool: its default installs packages at run time.
    paddle2onnx.export(
        str(program),
        str(folder / f"{STEM}{PARAMS}"),
        str(path),
        opset_version=opset,
        optimize_tool=None,
        verbose=False,
    )
    if not path.exists():
        raise ExportError(
            f"paddle2onnx did not write {path.name}; its own messages above say which operator it "
            "cannot convert"
        )
    onnx.checker.check_model(str(path))


def _compare(
    exported: paddle.nn.Layer,
    folder: Path,
    formats: Sequence[str],
    description: Description,
    images: Optional[np.ndarray],
) -> "dict[str, float]":
    rng = np.random.default_rng(0)
    batches = [
        rng.standard_normal((count, *description.image_shape)).astype(np.float32)
        for count in _CHECKED_BATCHES
    ]
    if images is not None and len(images):
        batches.append(np.ascontiguousarray(images, dtype=np.float32))
    with paddle.no_grad():
        expected = [exported(paddle.to_tensor(batch)).numpy() for batch in batches]
    errors = {}
    for name in ["paddle"] + (["onnxruntime"] if "onnx" in formats else []):
        engine = create_engine(folder, name)
        errors[name] = max(
            float(np.abs(engine.run(batch) - reference).max() / np.abs(reference).max())
            for batch, reference in zip(batches, expected)
        )
        if not errors[name] <= TOLERANCE:
            raise ExportError(
                f"the export is not the model: {name} differs by {errors[name]:.2e} of the largest "
                f"output, more than {TOLERANCE:.0e}; nothing was written"
            )
        logger.info(f"export compared with the model: {name} differs by {errors[name]:.1e}")
    return errors


def _write_report(folder: Path, description: Description, errors: "dict[str, float]") -> None:
    files = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.iterdir())
    }
    report = {
        "model_name": description.model_name,
        "versions": description.versions,
        "tolerance": TOLERANCE,
        "max_relative_error": errors,
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
            for suffix in (PROGRAM, LEGACY_PROGRAM, PARAMS, ONNX):
                (folder / f"{STEM}{suffix}").unlink(missing_ok=True)
    # The order of the tensors in .pdiparams belongs to one program: the other must not stay beside.
    for suffix in (PROGRAM, LEGACY_PROGRAM):
        if not (staging / f"{STEM}{suffix}").exists():
            (folder / f"{STEM}{suffix}").unlink(missing_ok=True)
    moved = []
    for path in sorted(staging.iterdir()):
        path.replace(folder / path.name)
        moved.append(folder / path.name)
    return moved


def _is_same_program(one: Description, other: Description) -> bool:
    """Whether files of both exports may stand in one folder under one `inference.yml`."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("model_name", "image_shape", "output", "activation", "weights_sha256")
    )


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
        for package in ("paddle2onnx", "onnx"):
            versions[package] = importlib.metadata.version(package)
    return versions
