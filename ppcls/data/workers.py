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
from collections.abc import Iterable, Iterator
from multiprocessing import connection, reduction
from typing import Any, Callable, NamedTuple, Optional

import cv2
import numpy as np

from ppcls.errors import DataError, UserError

_PR_SET_PDEATHSIG = 1
_ALIGNMENT = 64


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
    #: Bytes of a new shared memory that follows on the pipe and takes the place of the slot's.
    new_size: Optional[int]
    #: (dtype, shape, offset) of each array.
    arrays: "list[tuple[str, tuple[int, ...], int]]"
    rest: Any


class WorkerPool:
    """Runs `load` on tasks in worker processes, in order.

    Workers start with the first task and live until `close`, the end of this object or that of
    this process, however it ends. They must be started from a thread that lives as long as they.

    Args:
        load: makes `(arrays, rest)` of a task: a list of arrays, and anything small.
        num_workers: at least 1.
        prefetch_factor: tasks that a worker may be ahead.
        use_shared_memory: hand arrays over in shared memory where the system has `memfd_create`.
    """

    def __init__(
        self,
        load: "Callable[[Any], tuple[list[np.ndarray], Any]]",
        num_workers: int,
        prefetch_factor: int = 2,
        use_shared_memory: bool = True,
    ):
        self.load = load
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.use_shared_memory = use_shared_memory and hasattr(os, "memfd_create")
        self._workers: list[_Worker] = []
        self._is_busy = False

    def map(self, tasks: Iterable[Any]) -> "Iterator[tuple[list[np.ndarray], Any]]":
        """`load(task)` of each task, in order.

        The arrays are valid until the next result is asked for.

        Raises:
            UserError: raised by `load`.
            DataError: anything else that `load` raised, or a worker died.
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
                worker = workers[received % self.num_workers]
                result = worker.receive()
                received += 1
                send_next(worker)
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
            # Each result stays in its slot until the caller asks for the next one.
            slots = self.prefetch_factor + 1 if self.use_shared_memory else 0
            for number in range(self.num_workers):
                self._workers.append(_Worker(number, self.load, slots))


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
        theirs.close()
        self._slots: list[Optional[mmap.mmap]] = [None] * slots

    def send(self, task: Any) -> None:
        try:
            self.pipe.send(task)
        except OSError:
            raise self._death() from None

    def receive(self) -> "tuple[list[np.ndarray], Any]":
        try:
            connection.wait([self.pipe, self.process.sentinel])
            if not self.pipe.poll():
                raise EOFError
            reply = self.pipe.recv()
            if isinstance(reply, _Packed):
                return self._unpack(reply)
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(reply, _Failure):
            raise reply.error from RemoteTraceback(reply.traceback)
        return reply

    def _unpack(self, packed: _Packed) -> "tuple[list[np.ndarray], Any]":
        if packed.new_size is not None:
            descriptor = reduction.recv_handle(self.pipe)
            self._slots[packed.slot] = _map(descriptor, packed.new_size)
        memory = self._slots[packed.slot]
        arrays = [
            np.ndarray(shape, dtype, buffer=memory, offset=offset)
            for dtype, shape, offset in packed.arrays
        ]
        return arrays, packed.rest

    def _death(self) -> DataError:
        self.process.join(timeout=5)
        code = self.process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return DataError(
            f"data worker {self.number} (process {self.process.pid}) {how}. If memory ran out, "
            "use fewer workers (num_workers of the loader section)"
        )


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
            result = load(task)
        # The process boundary: whatever it is, the main process must hear of it.
        except Exception as error:
            if not isinstance(error, UserError):
                error = DataError(f"a data worker failed: {type(error).__name__}: {error}")
            pipe.send(_Failure(error, traceback.format_exc()))
            continue
        if packer is None:
            pipe.send(result)
        else:
            packer.send(*result)


def _prepare_process(parent: int) -> None:
    # The main process decides what Ctrl-C and SIGTERM mean; its handlers are not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
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
        self.slots: list[Optional[mmap.mmap]] = [None] * slots
        self.next = 0

    def send(self, arrays: "list[np.ndarray]", rest: Any) -> None:
        layout, size = [], 0
        for array in arrays:
            layout.append((array.dtype.str, array.shape, size))
            size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        slot, self.next = self.next, (self.next + 1) % len(self.slots)
        memory, descriptor = self.slots[slot], None
        if memory is None or len(memory) < size:
            descriptor = os.memfd_create("batch")
            os.ftruncate(descriptor, max(size, 1))
            memory = self.slots[slot] = _map(os.dup(descriptor), max(size, 1))
        for array, (dtype, shape, offset) in zip(arrays, layout):
            np.ndarray(shape, dtype, buffer=memory, offset=offset)[...] = array
        new_size = None if descriptor is None else len(memory)
        self.pipe.send(_Packed(slot, new_size, layout, rest))
        if descriptor is not None:
            reduction.send_handle(self.pipe, descriptor, os.getppid())
            os.close(descriptor)


def _map(descriptor: int, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
