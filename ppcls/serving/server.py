"""Running the application: sockets, time limits of connections, and stopping without losses."""

import asyncio
import contextlib
import socket
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Optional

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ppcls.inference import Predictor
from ppcls.serving.app import create_app
from ppcls.serving.log import log
from ppcls.serving.metrics import Metrics
from ppcls.serving.model import ServedModel
from ppcls.serving.repository import Repository
from ppcls.serving.service import Service
from ppcls.serving.settings import Settings


def create_service(
    model_dirs: "list[str]",
    settings: Settings,
    predictor_options: "Optional[dict[str, Any]]" = None,
) -> Service:
    """Loads the models and puts a service around them.

    Args:
        model_dirs: see `Repository`.
        predictor_options: further arguments of `Predictor`.

    Raises:
        UserError: a model cannot be loaded.
    """
    metrics = Metrics()
    executor = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")

    def open_predictor(folder: Path) -> Predictor:
        return Predictor(folder, **(predictor_options or {}))

    def load(name: str, version: int, folder: Path) -> ServedModel:
        return ServedModel(name, version, folder, open_predictor, settings, executor, metrics)

    repository = Repository(model_dirs, load, settings.keep_versions, metrics)
    return Service(repository, settings, metrics, executor)


#: Seconds for events of the network that have happened to reach the application.
_SETTLING = 0.1
#: Seconds that a connection without a request yet has for sending one when the server stops.
_GRACE = 1.0


class Server(uvicorn.Server):
    """A server that stops in two steps.

    On SIGTERM or Ctrl-C it says that it is not ready and closes each connection after its answer,
    while it still accepts new ones; `drain_delay` seconds later it stops accepting, answers what it
    has and ends, with exit code 0. A second signal ends it at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        drain_delay: float,
        grpc_port: Optional[int] = None,
    ):
        super().__init__(config)
        self._service = service
        self._drain_delay = drain_delay
        #: The port in use once the server has started; None: no gRPC.
        self.grpc_port = grpc_port
        self._grpc: Any = None

    async def startup(self, sockets: "Optional[list[socket.socket]]" = None) -> None:
        """Begins to listen.

        Raises:
            ConfigError: the port for gRPC is taken.
        """
        if self.grpc_port is not None:
            from ppcls.serving.kserve_grpc import GrpcServer

            self._grpc = GrpcServer(self._service, self.config.host, self.grpc_port)
            self.grpc_port = self._grpc.port
            await self._grpc.start()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:
        if self._service.is_draining:
            self.should_exit = self.force_exit = True
            return
        self.drain()

    async def shutdown(self, sockets: "Optional[list[socket.socket]]" = None) -> None:
        """Stops accepting, but keeps what the system has connected already.

        Closing a listening socket resets the connections that wait in its queue, which would look
        like lost requests to clients.
        """
        loop = asyncio.get_running_loop()
        stopping = asyncio.ensure_future(self._stop_grpc())
        for listener in self._listeners():
            # Event loops of Windows have no readers; there the queue is lost.
            with contextlib.suppress(NotImplementedError):
                loop.remove_reader(listener.fileno())
        # Connections that were just accepted get their transports.
        await asyncio.sleep(_SETTLING)
        waiting = [c for listener in self._listeners() for c in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._new_protocol, connection)
        await super().shutdown(sockets)
        if self.force_exit and self._grpc is not None:
            await self._grpc.stop(None)
        await stopping

    async def _stop_grpc(self) -> None:
        """Takes no more calls and answers those that run."""
        if self._grpc is not None:
            await self._grpc.stop(self.config.timeout_graceful_shutdown)

    def _listeners(self) -> "list[TransportSocket]":
        return [listener for server in self.servers for listener in server.sockets]

    def _new_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def drain(self) -> None:
        """Begins to stop."""
        self._service.is_draining = True
        log("draining", seconds=self._drain_delay)

        def stop() -> None:
            self.should_exit = True

        timer = threading.Timer(self._drain_delay, stop)
        timer.daemon = True
        timer.start()


def _accept_all(listener: TransportSocket) -> "Iterator[socket.socket]":
    """The connections in the queue of a listening socket."""
    with listener.dup() as accepting:
        while True:
            try:
                connection, _ = accepting.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection.setblocking(False)
            yield connection


def create_server(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8080,
    drain_delay: float = 1.0,
    drain_timeout: float = 30.0,
    grpc_port: Optional[int] = None,
) -> Server:
    """A server for `service`; `server.run()` returns when it has stopped.

    Args:
        drain_delay: see `Server`.
        drain_timeout: seconds after which answers in preparation are given up when stopping.
        grpc_port: for the Open Inference Protocol over gRPC; 0: a free one; None: without.
    """
    config = uvicorn.Config(
        create_app(service),
        host=host,
        port=port,
        http=_http_protocol(service.settings.body_timeout),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_timeout,
    )
    return Server(config, service, drain_delay, grpc_port)


def _http_protocol(timeout: float) -> "type[H11Protocol]":
    """Uvicorn's HTTP, which also closes connections on which no request arrives in time."""

    class TimedProtocol(H11Protocol):
        _timer: Optional[asyncio.TimerHandle] = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Optional[Exception]) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def shutdown(self) -> None:
            """Closes the connection after its answer, for which uvicorn has to have its request."""
            if self.cycle is None:
                self._watch(_GRACE)
            else:
                super().shutdown()

        def send_400_response(self, msg: str) -> None:
            """Answers what is not HTTP, which may be the rest of a request whose answer is begun.

            The application sees that its client is gone then, and sends no second answer.
            """
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                super().send_400_response(msg)
            else:
                self.transport.close()

        def _watch(self, seconds: float = timeout) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._close_if_idle)

        def _close_if_idle(self) -> None:
            # IDLE: the headers of the next request are not complete.
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return TimedProtocol
