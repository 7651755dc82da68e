"""The Open Inference Protocol (KServe v2) over gRPC: models, limits and keys of the HTTP server.

A handler reads its one message by itself, after the client's key and the number of requests have
been looked at, and not longer than `body_timeout`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Optional

import grpc
from google.protobuf.message import DecodeError, Message

from ppcls.errors import ConfigError
from ppcls.serving.errors import BadRequest, BodyTimeout, RequestError, Unavailable, Unprocessable
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
from ppcls.serving.log import log
from ppcls.serving.model import ServedModel
from ppcls.serving.open_inference import MESSAGES, SERVICE
from ppcls.serving.service import Service, log_id_of
from ppcls.serving.tensors import datatype_of, encode

#: Answered without a key and at any load.
OPEN_METHODS = frozenset({"ServerLive", "ServerReady"})

#: HTTP status of an error -> gRPC's.
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: Where the values of a tensor stand that is not sent as raw bytes.
_CONTENTS = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"}
_IDLE_MILLISECONDS = 300_000
#: Seconds in which calls on their way are refused before the server is gone.
_REFUSING = 0.2

Answer = Callable[[Message, float], Awaitable[Message]]


class GrpcServer:
    """Listens from `start` to `stop`. To be made in the running event loop.

    Args:
        port: 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, service: Service, host: str, port: int):
        settings = service.settings
        #: New calls are refused.
        self.is_stopping = False
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                # Compressed messages are refused; a small one can hold a very large one.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                ("grpc.so_reuseport", 0),
                ("grpc.server_handshake_timeout_ms", int(settings.body_timeout * 1000)),
                ("grpc.max_connection_idle_ms", _IDLE_MILLISECONDS),
            ]
        )
        handlers = {}
        for method, answer in _Methods(service).all().items():
            handler = _Handler(self, service, method, answer)
            serialize = MESSAGES[f"{method}Response"].SerializeToString
            handlers[method] = grpc.stream_unary_rpc_method_handler(handler.handle, None, serialize)
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server.add_generic_rpc_handlers((generic,))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise ConfigError(f"--grpc_port {port}: cannot listen on {address}") from None

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: Optional[float]) -> None:
        """Answers the calls that run, within `grace` seconds; None gives them up."""
        self.is_stopping = True
        if grace is not None:
            # A call that meets a stopped server is cancelled; "unavailable" tells clients to retry.
            await asyncio.sleep(_REFUSING)
        await self._server.stop(grace)


class _Methods:
    """What each method answers to a message, within some seconds."""

    def __init__(self, service: Service):
        self._service = service
        self._repository = service.repository

    def all(self) -> "dict[str, Answer]":
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
        }

    async def _server_live(self, message: Message, timeout: float) -> Message:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, message: Message, timeout: float) -> Message:
        return MESSAGES["ServerReadyResponse"](ready=self._service.is_ready)

    async def _server_metadata(self, message: Message, timeout: float) -> Message:
        return MESSAGES["ServerMetadataResponse"](**server_metadata())

    async def _model_ready(self, message: Message, timeout: float) -> Message:
        with self._repository.lease(message.name, message.version):
            return MESSAGES["ModelReadyResponse"](ready=True)

    async def _model_metadata(self, message: Message, timeout: float) -> Message:
        with self._repository.lease(message.name, message.version) as model:
            description = metadata(model, self._repository.versions(message.name))
        return MESSAGES["ModelMetadataResponse"](**description)

    async def _repository_index(self, message: Message, timeout: float) -> Message:
        return MESSAGES["RepositoryIndexResponse"](models=self._repository.index())

    async def _model_infer(self, message: Message, timeout: float) -> Message:
        with self._repository.lease(message.model_name, message.model_version) as model:
            inference = await self._service.in_thread(_parse, message, self._service, timeout)
            outputs = await infer(model, inference, min(timeout, inference.timeout or timeout))
            return _respond(model, inference, outputs)


class _Handler:
    """Around one method: key, limits, deadline, status, log and metrics."""

    def __init__(self, server: GrpcServer, service: Service, method: str, answer: Answer):
        self._server = server
        self._service = service
        self._method = method
        self._answer = answer
        self._request = MESSAGES[f"{method}Request"]

    async def handle(
        self, messages: "AsyncIterator[bytes]", context: grpc.aio.ServicerContext
    ) -> Message:
        started = time.perf_counter()
        headers = dict(context.invocation_metadata() or ())
        log_id = log_id_of(_text(headers, "x-request-id"))
        code, text, size = grpc.StatusCode.CANCELLED, "", 0
        try:
            if self._server.is_stopping:
                raise Unavailable("the server is stopping")
            is_open = self._method in OPEN_METHODS
            if not is_open:
                keys = _text(headers, "x-api-key"), _text(headers, "authorization")
                self._service.check_key(*keys)
            with self._service.running(is_limited=not is_open):
                data = await self._read(messages)
                size = len(data)
                response = await self._answer(self._decode(data), self._timeout(context))
            code = grpc.StatusCode.OK
            return response
        except RequestError as error:
            code, text = STATUS[error.status], str(error)
        except asyncio.CancelledError:
            raise
        # Anything else is a fault of ours: the log gets its traceback, the client a sentence.
        except Exception as error:
            log("internal error", logging.ERROR, error=error, log_id=log_id)
            code, text = grpc.StatusCode.INTERNAL, "internal error; the server's log says more"
        finally:
            self._record(code, started, log_id, context.peer(), size)
        return await context.abort(code, text, (("x-request-id", log_id),))

    async def _read(self, messages: "AsyncIterator[bytes]") -> bytes:
        timeout = self._service.settings.body_timeout
        try:
            return await asyncio.wait_for(messages.__anext__(), timeout)
        except asyncio.TimeoutError:
            raise BodyTimeout(f"the request did not arrive within {timeout:g} s") from None
        except StopAsyncIteration:
            raise BadRequest("the request has no message") from None

    def _decode(self, data: bytes) -> Message:
        try:
            return self._request.FromString(data)
        except DecodeError:
            raise BadRequest(f"the message is no {self._request.DESCRIPTOR.name}") from None

    def _timeout(self, context: grpc.aio.ServicerContext) -> float:
        """Seconds for the answer: the server's limit, or the client's deadline."""
        remaining = context.time_remaining()
        limit = self._service.settings.timeout
        return limit if remaining is None else max(min(limit, remaining), 0)

    def _record(
        self, code: grpc.StatusCode, started: float, log_id: str, client: str, size: int
    ) -> None:
        seconds = time.perf_counter() - started
        metrics = self._service.metrics
        metrics.requests.labels("grpc", self._method, code.name).inc()
        metrics.request_seconds.labels("grpc").observe(seconds)
        log(
            "request",
            log_id=log_id,
            client=client,
            method=self._method,
            path=f"/{SERVICE}/{self._method}",
            status=code.name,
            ms=round(seconds * 1000, 2),
            bytes_in=size,
        )


def _text(headers: "dict[str, Any]", name: str) -> str:
    value = headers.get(name, "")
    return value if isinstance(value, str) else ""


def _parse(message: Message, service: Service, timeout: float) -> Inference:
    if len(message.inputs) != 1:
        raise BadRequest(f"{len(message.inputs)} inputs, expected one")
    tensor, raw = message.inputs[0], message.raw_input_contents
    if len(raw) > 1 or (raw and tensor.HasField("contents")):
        raise BadRequest("one input has one content: its own, or one of raw_input_contents")
    values = None
    if not raw:
        values = list(getattr(tensor.contents, _CONTENTS.get(tensor.datatype, "fp32_contents")))
    shape = list(tensor.shape[:9])
    images = decode_input(
        tensor.name,
        shape,
        tensor.datatype,
        values,
        raw[0] if raw else None,
        service.settings,
        timeout,
    )
    parameters = _parameters(message.parameters)
    microseconds = _whole(parameters, "timeout", 1)
    asked = [
        RequestedOutput(
            output.name,
            is_binary=True,
            classification=_whole(_parameters(output.parameters), "classification", 0) or 0,
        )
        for output in message.outputs
    ]
    return Inference(
        images,
        requested_outputs(asked),
        _whole(parameters, "topk", 1) or DEFAULT_TOPK,
        timeout=microseconds / 1e6 if microseconds else None,
        id=message.id,
    )


def _parameters(pairs: Any) -> "dict[str, Any]":
    parameters = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("parameter_choice")
        parameters[pair.key] = getattr(pair.value, kind) if kind else None
    return parameters


def _whole(parameters: "dict[str, Any]", name: str, least: int) -> Optional[int]:
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Unprocessable(f"parameter '{name}': expected a whole number, at least {least}")
    return value


def _respond(model: ServedModel, inference: Inference, outputs: "dict[str, Any]") -> Message:
    response = MESSAGES["ModelInferResponse"](
        model_name=model.name, model_version=str(model.version), id=inference.id
    )
    for asked in inference.outputs:
        array = outputs[asked.name]
        response.outputs.add(name=asked.name, datatype=datatype_of(array), shape=array.shape)
        response.raw_output_contents.append(encode(array))
    return response
