"""Around every request: its identifier, the client's key, the limit of requests, log, metrics."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any, Optional

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppcls.serving import classification, pipeline
from ppcls.serving.errors import RequestError
from ppcls.serving.log import log
from ppcls.serving.service import Service, log_id_of

#: Answered without a key and at any load: probes, and the page with which a person gives a key.
OPEN_PATHS = frozenset({"/", "/health", "/v2/health/live", "/v2/health/ready"})

# A client that is still sending when it is refused reads the answer only after that.
_DISCARDED_BYTES = 4 * 2**20


def protocol_of(path: str) -> str:
    """Which protocol a path belongs to; decides the form of its errors and labels its metrics."""
    if path.startswith("/v2"):
        return "kserve"
    if path == classification.PATH:
        return "classification"
    if path.endswith(pipeline.SUFFIX):
        return "pipeline"
    return "other"


def error_body(path: str, status: int, message: str, log_id: str) -> "dict[str, Any]":
    """An error in the form of the path's protocol."""
    protocol = protocol_of(path)
    if protocol == "kserve":
        return {"error": message}
    if protocol == "pipeline":
        return {"err_no": status, "err_msg": message, "key": [], "value": [], "tensors": []}
    return {"logId": log_id, "errorCode": status, "errorMsg": message}


class RequestMiddleware:
    """The outermost layer; no fault of a request gets past it."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.service)
        is_open = scope["path"] in OPEN_PATHS
        try:
            if not is_open:
                self.service.check_key(
                    exchange.header(b"x-api-key"), exchange.header(b"authorization")
                )
            with self.service.running(is_limited=not is_open):
                await self.app(scope, exchange.receive, exchange.send)
        except RequestError as error:
            await exchange.refuse(error.status, str(error), error.retry_after)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        # Anything else is a fault of ours: the log gets its traceback, the client a sentence.
        except Exception as error:
            log("internal error", logging.ERROR, error=error, log_id=exchange.log_id)
            await exchange.refuse(500, "internal error; the server's log says more")
        finally:
            exchange.record()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, service: Service):
        self._scope = scope
        self._receive = receive
        self._send = send
        self._service = service
        self._started = time.perf_counter()
        self._bytes_in = 0
        self._has_body_ended = False
        self.status = 0
        self.log_id = log_id_of(self.header(b"x-request-id"))
        scope.setdefault("state", {})["log_id"] = self.log_id

    def header(self, name: bytes) -> str:
        for key, value in self._scope["headers"]:
            if key == name:
                return value.decode("latin-1")
        return ""

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes_in += len(message.get("body", b""))
        self._has_body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.log_id.encode())]
            if self._service.is_draining:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, status: int, text: str, retry_after: Optional[int] = None) -> None:
        """Answers with an error, unless an answer has begun."""
        if self.status:
            return
        await self._discard_body()
        document = error_body(self._scope["path"], status, text, self.log_id)
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if retry_after is not None:
            headers.append((b"retry-after", str(retry_after).encode()))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if not self._has_body_ended:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self.send(start)
        await self._send({"type": "http.response.body", "body": body})

    def record(self) -> None:
        """Log and metrics of the exchange."""
        seconds = time.perf_counter() - self._started
        path, method = self._scope["path"], self._scope["method"]
        protocol = protocol_of(path)
        metrics = self._service.metrics
        known = method if method in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        metrics.requests.labels(protocol, known, str(self.status)).inc()
        metrics.request_seconds.labels(protocol).observe(seconds)
        client = self._scope.get("client")
        log(
            "request",
            log_id=self.log_id,
            client=client[0] if client else None,
            method=method,
            path=path[:200],
            status=self.status,
            ms=round(seconds * 1000, 2),
            bytes_in=self._bytes_in,
        )

    async def _discard_body(self) -> None:
        declared = self.header(b"content-length") or self.header(b"transfer-encoding")
        if not declared or declared == "0":
            self._has_body_ended = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(self._bytes_in + _DISCARDED_BYTES), timeout=1)

    async def _discard(self, limit: int) -> None:
        while not self._has_body_ended and self._bytes_in < limit:
            await self.receive()
