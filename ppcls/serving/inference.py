"""What the Open Inference Protocol asks of a model, whichever way it is carried (REST or gRPC).

A model takes one of two inputs: `image`, BYTES [B], image files; or `x`, FP32 [B, C, H, W],
prepared images. Its outputs are `prob`, FP32 [B, class_num]; and of the `topk` most probable
classes (parameter of the request, default 5) `class_ids` INT64, `scores` FP32 and `label_names`
BYTES, each [B, topk].
"""

from dataclasses import dataclass, field
from typing import Any, Optional, Union

import numpy as np

from ppcls import __version__
from ppcls.serving.errors import BadRequest
from ppcls.serving.images import from_text
from ppcls.serving.model import ServedModel
from ppcls.serving.settings import Settings
from ppcls.serving.tensors import decode_bytes, decode_floats

DEFAULT_TOPK = 5
PLATFORM = "logoclas"


@dataclass
class RequestedOutput:
    """One output that a client wants."""

    name: str
    is_binary: bool = False
    #: Triton's extension: BYTES "score:index:label" of so many classes instead of the tensor.
    classification: int = 0


@dataclass
class Inference:
    """A parsed request."""

    images: "Union[list[bytes], np.ndarray]"
    outputs: "list[RequestedOutput]"
    topk: int = DEFAULT_TOPK
    #: Seconds the client allows.
    timeout: Optional[float] = None
    id: str = ""
    parameters: "dict[str, Any]" = field(default_factory=dict)


_MOST_SIZES = _MOST_OUTPUTS = 8
OUTPUTS = ("prob", "class_ids", "scores", "label_names")


def server_metadata() -> "dict[str, Any]":
    """The protocol's description of this server."""
    extensions = ["binary_tensor_data", "classification", "model_repository"]
    return {"name": PLATFORM, "version": __version__, "extensions": extensions}


def metadata(model: ServedModel, versions: "list[int]") -> "dict[str, Any]":
    """The protocol's description of a model."""
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": f"{PLATFORM}_{model.engine_name}",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "x", "datatype": "FP32", "shape": [-1, *model.input_shape]},
        ],
        "outputs": [
            {"name": "prob", "datatype": "FP32", "shape": [-1, model.class_num or -1]},
            {"name": "class_ids", "datatype": "INT64", "shape": [-1, -1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "label_names", "datatype": "BYTES", "shape": [-1, -1]},
        ],
    }


def decode_input(
    name: str,
    shape: "list[int]",
    datatype: str,
    values: Any,
    raw: Optional[bytes],
    settings: Settings,
    timeout: float,
) -> "Union[list[bytes], np.ndarray]":
    """One input of a request: image files, or a tensor (B, C, H, W).

    Raises:
        RequestError: it does not fit the model's inputs.
    """
    if not 0 < len(shape) <= _MOST_SIZES or any(size < 1 for size in shape):
        raise BadRequest(f"input '{name[:80]}': every size of the shape must be positive")
    if name == "x":
        return decode_floats(name, shape, datatype, values, raw)
    if name != "image":
        raise BadRequest(f"unknown input '{name[:80]}'; this model takes 'image' or 'x'")
    if datatype != "BYTES":
        raise BadRequest(f"input 'image': datatype {datatype[:20]}, expected BYTES")
    return [
        element if isinstance(element, bytes) else from_text(element, settings, timeout)
        for element in decode_bytes(name, shape, values, raw)
    ]


def requested_outputs(outputs: "list[RequestedOutput]") -> "list[RequestedOutput]":
    """Checks the names of outputs; without any, all are wanted.

    Raises:
        BadRequest: there is no such output.
    """
    if len(outputs) > _MOST_OUTPUTS:
        raise BadRequest(f"more than {_MOST_OUTPUTS} outputs are asked for")
    for output in outputs:
        if output.name not in OUTPUTS:
            raise BadRequest(f"unknown output '{output.name[:80]}'; there are {', '.join(OUTPUTS)}")
    return outputs or [RequestedOutput(name) for name in OUTPUTS]


async def infer(model: ServedModel, inference: Inference, timeout: float) -> "dict[str, Any]":
    """Runs a request; an array for each requested output, texts in arrays of objects.

    Raises:
        RequestError: it cannot be answered.
    """
    if isinstance(inference.images, np.ndarray):
        probabilities = await model.predict_tensor(inference.images, timeout)
    else:
        probabilities = await model.predict(inference.images, timeout)
    return {
        output.name: _output(model, output, inference.topk, probabilities)
        for output in inference.outputs
    }


def _output(
    model: ServedModel, output: RequestedOutput, topk: int, probabilities: np.ndarray
) -> np.ndarray:
    count = min(output.classification or topk, model.most_classes)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    scores = np.take_along_axis(probabilities, order, axis=1)
    if output.classification:
        texts = [
            [f"{score:f}:{i}:{model.label(i)}" for i, score in zip(ids.tolist(), row.tolist())]
            for ids, row in zip(order, scores)
        ]
        return np.array(texts, object)
    if output.name == "prob":
        return np.ascontiguousarray(probabilities, np.float32)
    if output.name == "class_ids":
        return order.astype(np.int64)
    if output.name == "scores":
        return np.ascontiguousarray(scores, np.float32)
    return np.array([[model.label(i) for i in ids] for ids in order.tolist()], object)
