"""Notices when another process of a run is gone, so that none waits for it for ever.

A process that is killed leaves the others in the middle of a sum that will not end: on GPUs they
hang for half an hour, on CPUs they abort with a C++ trace. Here each process holds a connection to
the first one, which the system closes when either ends, however it ends; a host that is lost or
unplugged is noticed by TCP's keep-alive within two minutes.
"""

import contextlib
import os
import secrets
import selectors
import socket
import struct
import sys
import threading
import time
from types import TracebackType
from typing import Optional

import paddle
import paddle.distributed as dist

from ppcls.engine.environment import Environment
from ppcls.utils.logger import logger
from ppcls.utils.signals import Interrupted

_HELLO = struct.Struct("!qi")
_FAREWELL = b"bye"
#: Time to join, and time that a process has to end by itself with a message of its own.
_SECONDS_TO_JOIN = 30.0
_SECONDS_OF_GRACE = 2.0
#: TCP keep-alive: silence before the first probe, between probes, and probes without an answer.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}


class PeerWatch:
    """Context in which the process ends, with exit code 1 and a sentence, if another one is gone.

    All processes must enter it together. One that leaves it without an error, or because of a
    signal that all obey, is not missed by the others.

    Args:
        environment: of this process; with one process nothing happens.
    """

    def __init__(self, environment: Environment):
        self.environment = environment
        #: Rank -> connection: all others in the first process, the first one in all others.
        self._peers: dict[int, socket.socket] = {}
        self._is_over = False

    def __enter__(self) -> "PeerWatch":
        if self.environment.world_size > 1:
            self._connect()
            threading.Thread(target=self._watch, name="peer watch", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if error is not None and not isinstance(error, Interrupted):
            return  # The others shall notice: this process ends.
        self._is_over = True
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(_FAREWELL)

    def _connect(self) -> None:
        environment = self.environment
        server = None
        numbers = [0, 0]
        if environment.is_main:
            server = socket.create_server(("", 0), backlog=environment.world_size)
            # The token keeps strangers out who find the port.
            numbers = [server.getsockname()[1], secrets.randbits(62)]
        # Only the first process contributes: the sum tells the others.
        port, token = environment.sum(paddle.to_tensor(numbers, dtype="int64")).tolist()
        if server is not None:
            with server:
                self._accept(server, token)
        else:
            self._join(port, token)
        for peer in self._peers.values():
            peer.settimeout(None)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE.items():
                if hasattr(socket, option):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def _join(self, port: int, token: int) -> None:
        host = dist.ParallelEnv().trainer_endpoints[0].rpartition(":")[0]
        try:
            peer = socket.create_connection((host, port), timeout=_SECONDS_TO_JOIN)
            peer.sendall(_HELLO.pack(token, self.environment.rank))
        except OSError as error:
            self._go_unwatched(f"{host}:{port} cannot be reached ({error})")
            return
        self._peers[0] = peer

    def _accept(self, server: socket.socket, token: int) -> None:
        server.settimeout(_SECONDS_TO_JOIN)
        others = self.environment.world_size - 1
        while len(self._peers) < others:
            try:
                peer, _ = server.accept()
            except OSError as error:
                port = server.getsockname()[1]
                missing = others - len(self._peers)
                self._go_unwatched(f"{missing} process(es) did not reach port {port} ({error})")
                return
            peer.settimeout(_SECONDS_TO_JOIN)
            hello = b""
            with contextlib.suppress(OSError):
                hello = peer.recv(_HELLO.size, socket.MSG_WAITALL)
            if len(hello) == _HELLO.size and _HELLO.unpack(hello)[0] == token:
                self._peers[_HELLO.unpack(hello)[1]] = peer
            else:
                peer.close()

    @staticmethod
    def _go_unwatched(reason: str) -> None:
        # Training works without; a firewall between machines is no reason to refuse it.
        logger.warning(
            f"{reason}: if a process dies, others may hang instead of ending. The processes of a "
            "run should be able to connect to any port of the first one's machine"
        )

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, peer in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    try:
                        word = key.fileobj.recv(len(_FAREWELL), socket.MSG_WAITALL)
                    except OSError:
                        word = b""
                    if word != _FAREWELL and not self._is_over:
                        self._end(key.data)

    def _end(self, rank: int) -> None:
        print(
            f"error: process {rank} of {self.environment.world_size} is gone, so this one "
            f"({self.environment.rank}) ends too; its own log says why, and the same command with "
            "-o Global.checkpoints=auto goes on from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(_SECONDS_OF_GRACE)
        # The main thread may wait in a sum that nothing interrupts.
        os._exit(1)
