"""Ctrl-C and SIGTERM as a wish to stop, granted between two training steps."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Optional


class Interrupted(Exception):
    """The run stopped because a signal asked it to; its work is saved.

    `exit_code` is what shells expect: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopRequest:
    """Context in which the first SIGINT or SIGTERM sets `signum`; a later SIGINT ends the process.

    SIGTERM after that is the same wish again: Paddle's launcher sends it three times within half a
    second, and how far apart they seem here depends on the operator that runs meanwhile.

    Python lets only the main thread handle signals; in any other the context changes nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signum: Optional[int] = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        for signum in self.SIGNALS:
            self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._restore()

    def _handle(self, signum: int, frame: Optional[FrameType]) -> None:
        if self.signum is None:
            self.signum = signum
        elif signum == signal.SIGINT:
            self._restore()
            os.kill(os.getpid(), signum)

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()
