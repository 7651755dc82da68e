"""Processes that load batches ahead, and hand them over through shared memory.

Each worker has a pipe of its own and shares no lock with the others, so that one that dies can
neither hang nor corrupt the rest. Worker w makes the batches w, w + n, w + 2n, ... of n workers:
the order of the results needs no bookkeeping, and their contents do not depend on n.

paddle.io.DataLoader is not used: it raises a worker's exception in a thread, where it becomes a
"blocking queue is killed" for the caller; its workers import Paddle; and its shared memory is in
/dev/shm, which containers limit to 64 MB.
"""

import contextlib
import gc
import mmap
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import connection, reduction, util
from typing import Any, Callable, NamedTuple, Optional

import cv2
import numpy as np

from ppcls.errors import DataError, UserError
from ppcls.utils.logger import logger

_PR_SET_PDEATHSIG = 1
_ALIGNMENT = 64
_FEWER = "use fewer workers (num_workers of the loader section)"


class RemoteTraceback(Exception):
    """The cause of an exception that came from a worker: its traceback, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Failure(NamedTuple):
    error: BaseException
    traceback: str


class _Packed(NamedTuple):
    """A result whose arrays are in a slot of shared memory."""

    slot: int
    #: Bytes of the slot's memory if they have become more; its descriptor follows on the pipe.
    new_size: Optional[int]
    #: (dtype, shape, offset) of each array.
    arrays: "list[tuple[str, tuple[int, ...], int]]"
    rest: Any


class WorkerPool:
    """Runs `load` on tasks in worker processes, in order.

    Workers start with the first task and live until `close`, the end of this object or that of
    this process, however it ends. They must be started from a thread that lives as long as they.

    Args:
        load: `load(task, allocate)` makes `(arrays, rest)` of a task: a list of arrays, and
            anything small. An array that it gets from `allocate(shape, dtype)`, instead of
            `numpy.empty`, lies in shared memory from the start and is handed over without a copy.
        num_workers: at least 1.
        prefetch_factor: tasks that a worker may be ahead.
        use_shared_memory: hand arrays over in shared memory where the system has `memfd_create`.
        retries: times that a task is given to a new worker because one died of it.
        describe: what a task works on, for the error when a worker died.
    """

    def __init__(
        self,
        load: "Callable[[Any, Callable], tuple[list[np.ndarray], Any]]",
        num_workers: int,
        prefetch_factor: int = 2,
        use_shared_memory: bool = True,
        retries: int = 0,
        describe: "Optional[Callable[[Any], str]]" = None,
    ):
        self.load = load
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.use_shared_memory = use_shared_memory and hasattr(os, "memfd_create")
        self.retries = retries
        self.describe = describe
        self._workers: list[_Worker] = []
        self._is_busy = False

    def map(self, tasks: Iterable[Any]) -> "Iterator[tuple[list[np.ndarray], Any]]":
        """`load(task, ...)` of each task, in order.

        The arrays are valid until the next result is asked for.

        Raises:
            UserError: raised by `load`.
            DataError: anything else that `load` raised, or workers died.
        """
        if self._is_busy:  # An iteration was left and still holds tasks.
            self.close()
        self._start()
        self._is_busy = True
        workers, tasks = self._workers, iter(tasks)
        sent = received = 0

        def send_next(worker: "_Worker") -> None:
            nonlocal sent
            with contextlib.suppress(StopIteration):
                worker.send(next(tasks))
                sent += 1

        try:
            for number in range(self.prefetch_factor * self.num_workers):
                send_next(workers[number % self.num_workers])
            while received < sent:
                number = received % self.num_workers
                result = self._receive(workers, number)
                received += 1
                send_next(workers[number])
                yield result
            self._is_busy = False
        finally:
            # Left early: what is under way must not come up as results of the next iteration.
            if self._is_busy and workers is self._workers:
                self.close()

    def close(self) -> None:
        """Ends the workers; `map` starts new ones."""
        workers, self._workers, self._is_busy = self._workers, [], False
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()

    def __del__(self) -> None:
        self.close()

    def _start(self) -> None:
        if not self._workers:
            self._workers = [self._new_worker(number) for number in range(self.num_workers)]

    def _new_worker(self, number: int) -> "_Worker":
        # Each result stays in its slot until the caller asks for the next one.
        slots = self.prefetch_factor + 1 if self.use_shared_memory else 0
        return _Worker(number, self.load, slots)

    def _receive(self, workers: "list[_Worker]", number: int) -> "tuple[list[np.ndarray], Any]":
        """The next result of a worker, or of the one that takes its place if it died."""
        failures = 0
        while True:
            worker = workers[number]
            try:
                return worker.receive()
            except _DeathOfWorker as death:
                task = f", loading {self.describe(worker.tasks[0])}" if self.describe else ""
                what = f"{death}{task}. If memory ran out, {_FEWER}"
            if failures == self.retries:
                raise DataError(what)
            failures += 1
            logger.warning(f"{what}; another worker takes its place")
            workers[number] = self._new_worker(number)
            for task in worker.tasks:
                workers[number].send(task)


class _Worker:
    """One process, seen from the main one."""

    def __init__(self, number: int, load: Callable, slots: int):
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        self.number = number
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(load, theirs, slots, os.getpid()),
            name=f"data worker {number}",
            daemon=True,
        )
        self.process.start()
        # At its end the main process would send SIGTERM, and wait.
        util.Finalize(self, self.process.kill, exitpriority=1)
        theirs.close()
        #: Those that it has not answered; it works on the first of them.
        self.tasks: deque[Any] = deque()
        self._slots: list[Optional[mmap.mmap]] = [None] * slots

    def send(self, task: Any) -> None:
        self.tasks.append(task)
        # Of one that is dead `receive` will tell.
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def receive(self) -> "tuple[list[np.ndarray], Any]":
        try:
            connection.wait([self.pipe, self.process.sentinel])
            if not self.pipe.poll():
                raise EOFError
            reply = self.pipe.recv()
            result = self._unpack(reply) if isinstance(reply, _Packed) else reply
        except (EOFError, OSError):
            raise self._death() from None
        self.tasks.popleft()
        if isinstance(result, _Failure):
            raise result.error from RemoteTraceback(result.traceback)
        return result

    def _unpack(self, packed: _Packed) -> "tuple[list[np.ndarray], Any]":
        if packed.new_size is not None:
            descriptor = reduction.recv_handle(self.pipe)
            try:
                self._slots[packed.slot] = mmap.mmap(descriptor, packed.new_size)
            finally:
                os.close(descriptor)
        memory = self._slots[packed.slot]
        arrays = [
            np.ndarray(shape, dtype, buffer=memory, offset=offset)
            for dtype, shape, offset in packed.arrays
        ]
        return arrays, packed.rest

    def _death(self) -> "_DeathOfWorker":
        self.process.join(timeout=5)
        code = self.process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return _DeathOfWorker(f"data worker {self.number} (process {self.process.pid}) {how}")


class _DeathOfWorker(Exception):
    """A worker has ended before it answered."""


def _serve(load: Callable, pipe: connection.Connection, slots: int, parent: int) -> None:
    """The life of a worker process."""
    _prepare_process(parent)
    packer = _Packer(pipe, slots) if slots else None
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            result = load(task, packer.allocate if packer else np.empty)
        # The process boundary: whatever it is, the main process must hear of it.
        except Exception as error:
            if isinstance(error, MemoryError):
                error = DataError(f"memory ran out in a data worker ({error}): {_FEWER}")
            elif not isinstance(error, UserError):
                error = DataError(f"a data worker failed: {type(error).__name__}: {error}")
            pipe.send(_Failure(error, traceback.format_exc()))
            if packer:
                packer.discard()
            continue
        if packer is None:
            pipe.send(result)
        else:
            packer.send(*result)


def _prepare_process(parent: int) -> None:
    # They often go to the whole group; the main process decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Objects inherited from the main process are not ours to finalize (tensors, streams).
    gc.freeze()
    cv2.setNumThreads(0)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It died before the call above.
            os._exit(1)


class _Packer:
    """Puts results into slots of shared memory, in turn."""

    def __init__(self, pipe: connection.Connection, slots: int):
        self.pipe = pipe
        self.slots = [_Slot() for _ in range(slots)]
        self.next = 0

    def allocate(self, shape: "tuple[int, ...]", dtype: Any) -> np.ndarray:
        """An array for the next result, in its slot."""
        return self.slots[self.next].allocate(shape, np.dtype(dtype))

    def discard(self) -> None:
        """Forgets what was allocated for a result that failed."""
        self.slots[self.next].discard()

    def send(self, arrays: "list[np.ndarray]", rest: Any) -> None:
        slot, number = self.slots[self.next], self.next
        self.next = (number + 1) % len(self.slots)
        layout = [(array.dtype.str, array.shape, slot.store(array)) for array in arrays]
        self.pipe.send(_Packed(number, slot.size if slot.has_grown else None, layout, rest))
        if slot.has_grown:
            reduction.send_handle(self.pipe, slot.descriptor, os.getppid())
        slot.clear()


class _Slot:
    """Shared memory of one result at a time."""

    #: What is added for the arrays that are stored after the allocated ones (labels, numbers):
    #: pages that nobody writes to cost nothing.
    _SPARE = 1 << 20

    def __init__(self) -> None:
        self.descriptor: Optional[int] = None
        self.size = 0
        #: Whether the main process has not yet mapped all of it.
        self.has_grown = False
        self._used = 0
        #: The memory as bytes; earlier mappings of it, as far as arrays may lie in them, and the
        #: present one.
        self._mappings: list[np.ndarray] = []

    def allocate(self, shape: "tuple[int, ...]", dtype: np.dtype) -> np.ndarray:
        """An array in this memory."""
        length = int(np.prod(shape)) * dtype.itemsize
        if self._used + length > self.size or self.descriptor is None:
            self._grow(self._used + length + self._SPARE)
        array = np.ndarray(shape, dtype, buffer=self._mappings[-1], offset=self._used)
        self._used += -(-length // _ALIGNMENT) * _ALIGNMENT
        return array

    def store(self, array: np.ndarray) -> int:
        """The offset of an array, which is copied unless it lies here."""
        for mapping in self._mappings:
            offset = array.ctypes.data - mapping.ctypes.data
            if 0 <= offset <= len(mapping) - array.nbytes and array.flags.c_contiguous:
                return offset
        copy = self.allocate(array.shape, array.dtype)
        copy[...] = array
        return copy.ctypes.data - self._mappings[-1].ctypes.data

    def discard(self) -> None:
        """Makes room for another result in place of this one."""
        self._used = 0
        del self._mappings[:-1]

    def clear(self) -> None:
        """Makes room for the next result; the main process has been sent this one."""
        self.discard()
        self.has_grown = False

    def _grow(self, size: int) -> None:
        if self.descriptor is None:
            self.descriptor = os.memfd_create("batch")
        os.ftruncate(self.descriptor, size)
        self._mappings.append(np.frombuffer(mmap.mmap(self.descriptor, size), np.uint8))
        self.size = size
        self.has_grown = True
