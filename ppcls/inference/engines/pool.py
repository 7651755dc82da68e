"""Objects that serve one call at a time, lent to threads."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable


class Pool:
    """Lends an object to each call; makes another one only when all are lent.

    Args:
        make: makes an object. Calls of it do not overlap.
        size: at most so many are made; further calls wait for one to come back.
    """

    def __init__(self, make: "Callable[[], Any]", size: int):
        self._make = make
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        self._unmade = size
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> "Iterator[Any]":
        """An object that no other thread has until the block ends."""
        item = self._take()
        try:
            yield item
        finally:
            self._free.put(item)

    def _take(self) -> Any:
        try:
            # Last in, first out: the one whose memory is warm, and no more than are needed.
            return self._free.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            if self._unmade > 0:
                item = self._make()
                self._unmade -= 1
                return item
        return self._free.get()
