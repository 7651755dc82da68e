"""How far exported files are from the model that they came from, on every engine."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import paddle

from ppcls.errors import ExportError
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import Description
from ppcls.utils.logger import logger

#: Largest error of a float32 export, relative to the largest output.
TOLERANCE = 1e-4
#: The same of float16: its 11 bits round every value by up to 5e-4, and errors add up over layers.
FP16_TOLERANCE = 2e-2
#: Batch sizes that are compared; the second is none that a program would fix by accident.
BATCHES = (1, 3)
# What the model in training is given at once: its outputs are per image, whatever their number.
_MODEL_BATCH = 8

#: Images, and the model's outputs for them.
_Batch = tuple[np.ndarray, "list[np.ndarray]"]


class Comparison(NamedTuple):
    """One engine's outputs beside the model's, on images of one kind in batches of one size."""

    engine: str
    precision: str
    #: "random": values of a normal distribution; "real": images of the evaluation.
    images: str
    batch: int
    max_absolute_error: float
    #: Relative to the largest output.
    max_relative_error: float
    #: Part of the images whose most probable class is the same.
    top1_agreement: float
    #: The model's best score less its second best, relative to the largest output: the smallest of
    #: all images. An error of less than half of it cannot change the most probable class.
    top1_margin: float


def compare(
    exported: paddle.nn.Layer,
    folder: Path,
    formats: Sequence[str],
    description: Description,
    images: Optional[np.ndarray],
) -> "list[Comparison]":
    """Compares every engine that can run a file in `folder` with the layer it was made of.

    Args:
        exported: (B, C, H, W) -> scores, or scores and class ids.
        folder: the files.
        formats: what was exported.
        images: real images (N, C, H, W), besides random ones.

    Raises:
        ExportError: one differs by more than its tolerance, or the layer gives no numbers.
    """
    engines = [("paddle", "fp32")]
    if "onnx" in formats:
        engines.append(("onnxruntime", "fp32"))
        if importlib.util.find_spec("openvino") is not None:
            engines.append(("openvino", "fp32"))
    if "onnx_fp16" in formats:
        engines.append(("onnxruntime", "fp16"))
    cases = list(_cases(exported, description, images))
    comparisons = []
    for name, precision in engines:
        engine = create_engine(folder, name, precision=precision, whole_batches=True)
        found = [
            _compare_case(engine, precision, kind, size, batches) for kind, size, batches in cases
        ]
        _judge(name, precision, found)
        comparisons += found
    return comparisons


def largest_errors(comparisons: "list[Comparison]") -> "dict[str, float]":
    """Engine (of other precisions than fp32: `engine precision`) -> largest relative error."""
    errors: dict[str, float] = {}
    for one in comparisons:
        name = _title(one.engine, one.precision)
        errors[name] = max(errors.get(name, 0.0), one.max_relative_error)
    return errors


def _title(engine: str, precision: str) -> str:
    return engine if precision == "fp32" else f"{engine} {precision}"


def _cases(
    exported: paddle.nn.Layer, description: Description, images: Optional[np.ndarray]
) -> "Iterator[tuple[str, int, list[_Batch]]]":
    rng = np.random.default_rng(0)
    for size in BATCHES:
        batch = rng.standard_normal((size, *description.image_shape)).astype(np.float32)
        expected = _run_model(exported, batch)
        overflowed = _overflowed(expected)
        if overflowed.size:
            # Noise may be further from photos than the arithmetic of a model reaches.
            logger.warning(
                f"the model itself gives NaN or infinity for {overflowed.size} of {size} random "
                "images, which are replaced by zeros in the comparison"
            )
            batch[overflowed] = 0
            expected = _run_model(exported, batch)
        _check_finite(expected, "random")
        yield "random", size, [(batch, expected)]
    if images is None:
        return
    images = np.ascontiguousarray(images, dtype=np.float32)
    expected = _run_model(exported, images)
    _check_finite(expected, "real")
    for size in BATCHES:
        parts = [slice(start, start + size) for start in range(0, len(images) - size + 1, size)]
        if parts:
            found = [(images[part], [array[part] for array in expected]) for part in parts]
            yield "real", size, found


def _run_model(exported: paddle.nn.Layer, images: np.ndarray) -> "list[np.ndarray]":
    """Each output of the layer for all images."""
    with paddle.no_grad():
        parts = [
            _arrays(exported(paddle.to_tensor(images[start : start + _MODEL_BATCH])))
            for start in range(0, len(images), _MODEL_BATCH)
        ]
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def _overflowed(outputs: "list[np.ndarray]") -> np.ndarray:
    """The positions of images whose outputs are not finite."""
    return np.flatnonzero(~np.isfinite(outputs[0]).all(axis=1))


def _check_finite(outputs: "list[np.ndarray]", kind: str) -> None:
    overflowed = _overflowed(outputs)
    if overflowed.size:
        raise ExportError(
            f"the model itself gives NaN or infinity for {overflowed.size} of {len(outputs[0])} "
            f"{kind} images (the first is number {overflowed[0]}): its weights or running "
            "statistics do not fit them; nothing was written"
        )


def _arrays(outputs: Any) -> "list[np.ndarray]":
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [output.numpy() for output in outputs]


def _compare_case(
    engine: Any,
    precision: str,
    kind: str,
    size: int,
    batches: "list[_Batch]",
) -> Comparison:
    absolute = relative = 0.0
    margin = float("inf")
    same = []
    for batch, reference in batches:
        outputs = engine.run_all(batch)
        error = float(np.abs(outputs[0] - reference[0]).max())
        largest = float(np.abs(reference[0]).max())
        absolute = _larger(absolute, error)
        relative = _larger(relative, error / largest)
        margin = min(margin, _margin(reference[0]) / largest)
        same += list(_top1(outputs) == _top1(reference))
    agreement = float(np.mean(same))
    return Comparison(engine.name, precision, kind, size, absolute, relative, agreement, margin)


def _larger(one: float, other: float) -> float:
    """The larger number; NaN is larger than any."""
    return float(np.maximum(one, other))


def _top1(outputs: "list[np.ndarray]") -> np.ndarray:
    """(B,) most probable classes, of scores of all classes or of scores with class ids."""
    return outputs[1][:, 0] if len(outputs) > 1 else outputs[0].argmax(axis=1)


def _margin(scores: np.ndarray) -> float:
    """(B, classes) -> the smallest distance of the two best; of one class, the score itself."""
    best = np.sort(scores, axis=1)[:, -2:]
    return float((best[:, -1] - (best[:, 0] if best.shape[1] > 1 else 0)).min())


def _judge(name: str, precision: str, found: "list[Comparison]") -> None:
    tolerance = FP16_TOLERANCE if precision == "fp16" else TOLERANCE
    worst = max(found, key=lambda one: (np.isnan(one.max_relative_error), one.max_relative_error))
    title = _title(name, precision)
    if not worst.max_relative_error <= tolerance:
        raise ExportError(
            f"the export is not the model: {title} differs by {worst.max_relative_error:.2e} of "
            f"the largest output, more than {tolerance:.0e} ({worst.images} images, batch "
            f"{worst.batch}); nothing was written"
        )
    agreement = min(one.top1_agreement for one in found)
    logger.info(
        f"export compared with the model: {title} differs by {worst.max_relative_error:.1e}, "
        f"top-1 agrees on {agreement:.0%}"
    )
