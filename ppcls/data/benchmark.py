"""What loading costs: CPU time per image of each operator, and images per second of the whole.

CPU time rather than elapsed time: it says how many cores a given rate of images needs, and other
work on the machine hardly changes it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from ppcls.data.loader import DataLoader, build_loader

#: Names of the lines that are not operators.
READ, STACK, WHOLE, DECODE_ONLY = "(read file)", "(stack batch)", "whole", "decode only"


class OperatorCost(NamedTuple):
    """CPU time of one operator."""

    name: str
    ms_per_image: float


class LoaderCost(NamedTuple):
    """Cost of the whole loader, tensors included, with some number of workers."""

    workers: int
    images: int
    images_per_second: float
    #: Of the main process and all workers.
    cpu_ms_per_image: float


def measure_operators(
    loader: DataLoader, batches: int, progress: Callable[[], Any]
) -> "list[OperatorCost]":
    """CPU time of each operator, in this process, one thread.

    Args:
        loader: without workers; not usable for anything else afterwards.
        batches: at most so many are made.
        progress: called after each batch.

    Returns:
        reading, every step of `transform_ops`, stacking, every batch operator, their sum as
        `WHOLE`, and OpenCV decoding the same files as `DECODE_ONLY`.
    """
    cv2.setNumThreads(1)
    timer = _Timer()
    transform = loader.dataset.transform
    transform.operators = [timer.wrap(_name(step), step) for step in transform.operators]
    if transform.operators:
        transform.operators.insert(0, timer.decode_only)
    make_batch = loader.make_batch
    make_batch.operators = [timer.wrap(_name(step), step) for step in make_batch.operators]
    dataset = loader.dataset
    make_batch.dataset = _TimedDataset(dataset, timer)
    images = 0
    for keys in islice(loader.sampler, batches):
        start = time.process_time()
        inner = timer.total
        (_, _, indices), _ = make_batch(keys)
        timer.add(STACK, time.process_time() - start - (timer.total - inner))
        images += len(indices)
        progress()
    reference = timer.seconds.pop(DECODE_ONLY, 0.0)
    batch_steps = [_name(step.operator) for step in make_batch.operators]
    order = [READ, *(n for n in timer.seconds if n not in (READ, STACK, *batch_steps)), STACK]
    order += dict.fromkeys(batch_steps)
    costs = [OperatorCost(n, 1000 * timer.seconds[n] / images) for n in order]
    whole = sum(cost.ms_per_image for cost in costs)
    return [
        *costs,
        OperatorCost(WHOLE, whole),
        OperatorCost(DECODE_ONLY, 1000 * reference / images),
    ]


def measure_loader(
    section: Mapping[str, Any],
    mode: Literal["Train", "Eval"],
    class_num: int,
    seed: int,
    workers: int,
    batches: int,
    progress: Callable[[], Any],
) -> LoaderCost:
    """Images per second of the loader and its CPU time, the start of its workers included.

    Args:
        section: as of `build_loader`; its `num_workers` is replaced.
        workers: number of worker processes.
        batches: at most so many are made.
        progress: called after each batch.
    """
    options = {**(section.get("loader") or {}), "num_workers": workers}
    loader = build_loader({**section, "loader": options}, mode, class_num, seed)
    loader.sampler = _FirstBatches(loader.sampler, batches)
    images = 0
    cpu, start = _cpu_seconds(), time.perf_counter()
    for batch in loader:
        images += batch.images.shape[0]
        progress()
    elapsed = time.perf_counter() - start
    loader.close()  # The system counts the time of children once they have ended.
    cpu = _cpu_seconds() - cpu
    return LoaderCost(workers, images, images / elapsed, 1000 * cpu / images)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _name(step: Any) -> str:
    return getattr(step, "name", type(step).__name__)


class _FirstBatches:
    """The first batches of a sampler."""

    def __init__(self, sampler: Any, count: int):
        self.sampler = sampler
        self.count = count

    def __iter__(self) -> "Iterator[Any]":
        return islice(self.sampler, self.count)


class _Timer:
    """Sums up CPU seconds under names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.total = 0.0

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.total += seconds

    def wrap(self, name: str, operator: Callable) -> "_TimedOperator":
        return _TimedOperator(name, operator, self)

    def decode_only(self, image: Any, rng: np.random.Generator) -> Any:
        """An operator that passes its input through, and decodes it with OpenCV beside."""
        if not isinstance(image, np.ndarray):
            start = time.process_time()
            cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            self.add(DECODE_ONLY, time.process_time() - start)
        return image


class _TimedOperator:
    """An operator whose calls are timed."""

    def __init__(self, name: str, operator: Callable, timer: _Timer):
        self.name = name
        self.operator = operator
        self.timer = timer

    def __call__(self, *arguments: Any) -> Any:
        start = time.process_time()
        result = self.operator(*arguments)
        self.timer.add(self.name, time.process_time() - start)
        return result


class _TimedDataset:
    """A dataset; what it spends outside its transforms counts as reading."""

    def __init__(self, dataset: Any, timer: _Timer):
        self._dataset = dataset
        self._timer = timer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __getitem__(self, key: Any) -> Any:
        start = time.process_time()
        inner = self._timer.total
        sample = self._dataset[key]
        self._timer.add(READ, time.process_time() - start - (self._timer.total - inner))
        return sample
