"""Dynamic batching: images of many requests in one run of the engine, with a bounded queue.

A request first asks for room (`admit`), which fails at once when the queue is full, then prepares
its images and submits them one by one. A free worker takes what waits, up to the size of a batch;
it waits for more only while admitted images are still being prepared, and not longer than
`max_delay`. One client therefore never waits for company that is not coming.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Optional

import numpy as np

from ppcls.serving.errors import Busy, DeadlineExceeded, TooLarge


@dataclass(eq=False)
class _Item:
    array: np.ndarray
    deadline: float
    future: "Future[np.ndarray]" = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)


class DynamicBatcher:
    """Runs submitted arrays in batches.

    Args:
        run: (B, ...) -> (B, ...); called by `workers` threads.
        max_batch_size: arrays per run.
        max_delay: seconds a batch waits for arrays in preparation.
        capacity: arrays admitted at a time.
        workers: runs at a time.
        observe: called after each run with its size, the longest wait and its duration (s).
    """

    def __init__(
        self,
        run: "Callable[[np.ndarray], np.ndarray]",
        max_batch_size: int,
        max_delay: float,
        capacity: int,
        workers: int = 1,
        observe: "Callable[[int, float, float], None]" = lambda size, waited, ran: None,
    ):
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_delay = max_delay
        self.capacity = capacity
        self._observe = observe
        self._changed = threading.Condition()
        self._queue: deque[_Item] = deque()
        self._admitted = 0
        self._preparing = 0
        self._is_closed = False
        for number in range(workers):
            threading.Thread(target=self._work, name=f"batcher-{number}", daemon=True).start()

    @property
    def admitted(self) -> int:
        """Arrays that were admitted and not answered yet."""
        return self._admitted

    def admit(self, count: int) -> "Ticket":
        """Room for `count` arrays, to be given back by leaving the ticket's context.

        Raises:
            Busy: there is none at the moment.
            TooLarge: there never is.
        """
        if count > self.capacity:
            raise TooLarge(f"{count} images in one request, more than the limit of {self.capacity}")
        with self._changed:
            if self._admitted + count > self.capacity:
                raise Busy("the queue is full; try again later")
            self._admitted += count
            self._preparing += count
        return Ticket(self, count)

    def close(self) -> None:
        """Ends the threads as soon as they have answered what is queued; does not wait for that."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _submit(self, array: np.ndarray, deadline: float) -> _Item:
        item = _Item(array, deadline)
        with self._changed:
            self._preparing -= 1
            self._queue.append(item)
            self._changed.notify_all()
        return item

    def _give_back(self, count: int, unsubmitted: int, items: "list[_Item]") -> None:
        abandoned = [item for item in items if item.future.cancel()]
        with self._changed:
            self._admitted -= count
            self._preparing -= unsubmitted
            for item in abandoned:
                if item in self._queue:
                    self._queue.remove(item)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch is None:
                return
            items = [item for item in batch if self._start(item)]
            if items:
                self._run_batch(items)

    def _take(self) -> "Optional[list[_Item]]":
        """The next batch; None when closed and nothing is left."""
        with self._changed:
            while True:
                if not self._queue:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                    continue
                remaining = self._queue[0].submitted + self._max_delay - time.monotonic()
                is_full = len(self._queue) >= self._max_batch_size
                if is_full or not self._preparing or remaining <= 0:
                    count = min(len(self._queue), self._max_batch_size)
                    return [self._queue.popleft() for _ in range(count)]
                self._changed.wait(remaining)

    def _start(self, item: _Item) -> bool:
        """Whether somebody still waits for this item."""
        if not item.future.set_running_or_notify_cancel():
            return False
        if time.monotonic() > item.deadline:
            item.future.set_exception(DeadlineExceeded("the image waited too long in the queue"))
            return False
        return True

    def _run_batch(self, items: "list[_Item]") -> None:
        started = time.monotonic()
        try:
            outputs = self._run(np.stack([item.array for item in items]))
        except Exception as error:  # whatever an engine raises belongs to those who wait for it
            for item in items:
                item.future.set_exception(error)
            return
        ended = time.monotonic()
        for item, output in zip(items, outputs):
            item.future.set_result(output)
        self._observe(len(items), started - items[0].submitted, ended - started)


class Ticket:
    """Room in a batcher; a context that gives it back, and gives up what is not answered."""

    def __init__(self, batcher: DynamicBatcher, count: int):
        self._batcher = batcher
        self._count = count
        self._items: list[_Item] = []

    def submit(self, array: np.ndarray, deadline: float) -> "Future[np.ndarray]":
        """Queues one array; `deadline` is in the time of `time.monotonic`."""
        item = self._batcher._submit(array, deadline)
        self._items.append(item)
        return item.future

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(
        self,
        kind: "Optional[type[BaseException]]",
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        unsubmitted = self._count - len(self._items)
        self._batcher._give_back(self._count, unsubmitted, self._items)
