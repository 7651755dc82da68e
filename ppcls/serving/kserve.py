"""The Open Inference Protocol (KServe v2) over REST, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol
"""

import json
from typing import Any, Optional

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from ppcls.serving.errors import BadRequest, UnsupportedEncoding
from ppcls.serving.inference import (
    DEFAULT_TOPK,
    Inference,
    RequestedOutput,
    decode_input,
    infer,
    metadata,
    requested_outputs,
    server_metadata,
)
from ppcls.serving.openapi import describe_body
from ppcls.serving.service import Service, parse_message
from ppcls.serving.tensors import LENGTH_HEADER, datatype_of, encode


class TensorParameters(BaseModel):
    """Parameters of a tensor; unknown ones are ignored, as the protocol asks."""

    binary_data_size: Optional[int] = Field(None, ge=0)
    binary_data: Optional[bool] = None
    classification: int = Field(0, ge=0)


class InputTensor(BaseModel):
    """`image`: BYTES [B], base64 of files (as they are in binary data). `x`: FP32 [B, C, H, W]."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters = TensorParameters()
    data: Optional[list[Any]] = None


class OutputRequest(BaseModel):
    """`prob`, `class_ids`, `scores` or `label_names`."""

    name: str
    parameters: TensorParameters = TensorParameters()


class InferParameters(BaseModel):
    """Parameters of a request; `timeout` is in microseconds."""

    binary_data_output: bool = False
    topk: int = Field(DEFAULT_TOPK, gt=0)
    timeout: Optional[int] = Field(None, gt=0)


class InferRequest(BaseModel):
    """The protocol's inference request."""

    id: str = ""
    parameters: InferParameters = InferParameters()
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[OutputRequest] = []


def create_router(service: Service) -> APIRouter:
    """The routes of this protocol."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    repository = service.repository
    model_paths = ("/models/{model}", "/models/{model}/versions/{version}")

    @router.get("")
    async def server() -> "dict[str, Any]":
        """Name, version and extensions of the server."""
        return server_metadata()

    @router.get("/health/live")
    async def live() -> "dict[str, bool]":
        """The server runs."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        """Every model can be asked, and the server is not about to stop."""
        return JSONResponse({"ready": service.is_ready}, 200 if service.is_ready else 503)

    @router.post("/repository/index")
    async def index() -> "list[dict[str, str]]":
        """All models and versions."""
        return repository.index()

    async def describe(model: str, version: str = "") -> "dict[str, Any]":
        """Inputs and outputs of a model."""
        with repository.lease(model, version) as served:
            return metadata(served, repository.versions(model))

    async def model_ready(model: str, version: str = "") -> "dict[str, Any]":
        """The model can be asked."""
        with repository.lease(model, version) as served:
            return {"name": served.name, "ready": True}

    async def run(request: Request, model: str, version: str = "") -> Response:
        """Classifies image files or prepared images."""
        with repository.lease(model, version) as served:
            timeout = service.timeout(request)
            if request.headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedEncoding("compressed requests are not taken")
            body = await service.read_body(request)
            header_length = _header_length(request, len(body))
            inference = await service.in_thread(_parse, body, header_length, service, timeout)
            outputs = await infer(served, inference, min(timeout, inference.timeout or timeout))
            return _respond(served.name, served.version, inference, outputs)

    for path in model_paths:
        router.add_api_route(path, describe, methods=["GET"])
        router.add_api_route(f"{path}/ready", model_ready, methods=["GET"])
        router.add_api_route(
            f"{path}/infer",
            run,
            methods=["POST"],
            response_class=Response,
            openapi_extra=describe_body(InferRequest),
        )
    return router


def _header_length(request: Request, size: int) -> int:
    text = request.headers.get(LENGTH_HEADER)
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= size):
        raise BadRequest(f"{LENGTH_HEADER}: expected the length of the JSON part of the body")
    return int(text)


def _parse(body: bytes, header_length: int, service: Service, timeout: float) -> Inference:
    message = parse_message(InferRequest, body[:header_length])
    tensor = message.inputs[0]
    binary, size = body[header_length:], tensor.parameters.binary_data_size
    if size is None and tensor.data is None:
        raise BadRequest(f"input '{tensor.name[:80]}' has no data")
    if len(binary) != (size or 0):
        raise BadRequest(f"{size or 0} bytes of binary data are announced, {len(binary)} came")
    raw = None if size is None else binary
    images = decode_input(
        tensor.name, tensor.shape, tensor.datatype, tensor.data, raw, service.settings, timeout
    )
    wants_binary = message.parameters.binary_data_output
    outputs = requested_outputs(
        [
            RequestedOutput(
                output.name, bool(output.parameters.binary_data), output.parameters.classification
            )
            for output in message.outputs
        ]
    )
    for output, asked in zip(outputs, message.outputs or [None] * len(outputs)):
        if asked is None or asked.parameters.binary_data is None:
            output.is_binary = wants_binary
    microseconds = message.parameters.timeout
    return Inference(
        images,
        outputs,
        message.parameters.topk,
        timeout=microseconds / 1e6 if microseconds else None,
        id=message.id,
    )


def _respond(name: str, version: int, inference: Inference, outputs: "dict[str, Any]") -> Response:
    tensors, binary = [], []
    for asked in inference.outputs:
        array = outputs[asked.name]
        tensor: dict[str, Any] = {
            "name": asked.name,
            "shape": list(array.shape),
            "datatype": datatype_of(array),
        }
        if asked.is_binary:
            binary.append(encode(array))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": name, "model_version": str(version)}
    if inference.id:
        document["id"] = inference.id
    document["outputs"] = tensors
    content = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    if not binary:
        return Response(content, media_type="application/json")
    return Response(
        b"".join([content, *binary]),
        media_type="application/octet-stream",
        headers={LENGTH_HEADER: str(len(content))},
    )
