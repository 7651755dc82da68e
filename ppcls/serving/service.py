"""What all protocols share: the models, the limits, and how a body or an answer is made."""

import asyncio
import hmac
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ppcls.serving.errors import (
    BadRequest,
    BodyTimeout,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from ppcls.serving.images import from_text
from ppcls.serving.metrics import Metrics
from ppcls.serving.repository import Repository
from ppcls.serving.settings import Settings

T = TypeVar("T")
Message = TypeVar("Message", bound=BaseModel)

TIMEOUT_HEADER = "x-timeout-ms"
_LOG_ID = re.compile(r"[\w.:/+=-]{1,128}")


class Service:
    """The state of one server.

    Args:
        repository: the models.
        settings: limits.
        metrics: counters.
        executor: threads for work that would keep the event loop from others.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        metrics: Metrics,
        executor: ThreadPoolExecutor,
    ):
        self.repository = repository
        self.settings = settings
        self.metrics = metrics
        self.executor = executor
        #: The server is about to stop: not ready any more, connections are closed after an answer.
        self.is_draining = False
        self._running = 0

    @property
    def is_ready(self) -> bool:
        """Every model can be asked, and the server is not about to stop."""
        names = self.repository.names
        return not self.is_draining and all(map(self.repository.versions, names))

    def check_key(self, key: str, authorization: str) -> None:
        """Checks the values of the headers `X-API-Key` and `Authorization`.

        Raises:
            Unauthorized: neither holds one of the keys.
        """
        if not self.settings.api_keys:
            return
        bearer = authorization.partition("Bearer ")[2]
        given = (key or bearer).encode("utf-8", "surrogateescape")
        # All are compared, each in constant time.
        if not sum(hmac.compare_digest(given, key.encode()) for key in self.settings.api_keys):
            raise Unauthorized("this server needs a key: 'X-API-Key: ...' (or a bearer token)")

    @contextmanager
    def running(self, is_limited: bool) -> Iterator[None]:
        """Around a request; probes are not limited, but count.

        Raises:
            Unavailable: as many requests run as the server takes.
        """
        if is_limited and self._running >= self.settings.max_requests:
            raise Unavailable("the server has as many requests as it takes; try again")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def in_thread(self, function: "Callable[..., T]", *arguments: Any) -> T:
        """Runs `function` in one of the threads that prepare images."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, function, *arguments)

    async def read_body(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            TooLarge: there is more of it than allowed.
            BodyTimeout: it comes too slowly.
        """
        limit = self.settings.max_body_bytes
        too_large = TooLarge(f"the request has more than {limit} bytes, which is the limit")
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large

        async def read() -> bytes:
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
            return bytes(body)

        timeout = self.settings.body_timeout
        try:
            return await asyncio.wait_for(read(), timeout)
        except asyncio.TimeoutError:
            raise BodyTimeout(f"the request did not arrive within {timeout:g} s") from None

    def timeout(self, request: Request) -> float:
        """Seconds for the answer: the server's limit, or what the client's header allows.

        Raises:
            BadRequest: the header is not a positive number.
        """
        text = request.headers.get(TIMEOUT_HEADER)
        if text is None:
            return self.settings.timeout
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
            raise BadRequest(f"{TIMEOUT_HEADER}: expected a positive number of milliseconds")
        return min(self.settings.timeout, int(text) / 1000)

    async def image_from_text(self, text: str, timeout: float) -> bytes:
        """See `ppcls.serving.images.from_text`."""
        return await self.in_thread(from_text, text, self.settings, timeout)


def parse_message(kind: "type[Message]", body: bytes) -> Message:
    """JSON -> a message.

    Raises:
        BadRequest: it is not JSON.
        Unprocessable: a value is missing or wrong; lists all of them.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if any(fault["type"] == "json_invalid" for fault in faults):
            raise BadRequest(f"the body is not JSON: {faults[0]['msg']}") from None
        raise Unprocessable("; ".join(map(_describe, faults[:10]))) from None


def _describe(fault: "dict[str, Any]") -> str:
    where = ".".join(map(str, fault["loc"]))[:200] or "the body"
    return f"{where}: {fault['msg']}"


def log_id_of(given: str) -> str:
    """The identifier of one request: what the client gave, or a new one."""
    return given if _LOG_ID.fullmatch(given) else str(uuid.uuid4())
