"""What loading costs: CPU time per image of each operator, and images per second of the whole.

CPU time rather than elapsed time: it says how many cores a given rate of images needs, and other
work on the machine hardly changes it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
    loader: DataLoader, batches: int, fused: bool, progress: Callable[[], Any]
) -> "list[OperatorCost]":
    """CPU time of each operator, in this process, one thread.

    Args:
        loader: without workers; not usable for anything else afterwards.
        batches: at most so many are made.
        fused: time the steps that are really run (see `ppcls.data.transform.fusion`); else the
            operators of `transform_ops` one by one.
        progress: called after each batch.

    Returns:
        stacking, reading, every operator of `transform_ops`, every batch operator, their sum as
        `WHOLE`, and OpenCV decoding the same files as `DECODE_ONLY`.
    """
    cv2.setNumThreads(1)
    timer = _Timer()
    make_batch = loader.make_batch
    make_batch.operators = [
        partial(timer.run, _name(operator), operator) for operator in make_batch.operators
    ]
    make_batch.dataset = _TimedDataset(loader.dataset, timer, fused)
    images = 0
    for keys in islice(loader.sampler, batches):
        (_, _, indices), _ = timer.run(STACK, make_batch, keys)
        images += len(indices)
        progress()
    reference = timer.seconds.pop(DECODE_ONLY, 0.0)
    costs = [OperatorCost(name, 1000 * timer.seconds[name] / images) for name in timer.seconds]
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
    """Sums up CPU seconds under names, in the order of their first use."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.total = 0.0

    def run(self, name: str, function: Callable, *arguments: Any) -> Any:
        """Calls the function; its time, less what is timed inside, counts for `name`."""
        self.seconds.setdefault(name, 0.0)
        start, inside = time.process_time(), self.total
        result = function(*arguments)
        seconds = time.process_time() - start - (self.total - inside)
        self.seconds[name] += seconds
        self.total += seconds
        return result


class _TimedDataset:
    """A dataset; what it spends outside its transforms counts as reading."""

    def __init__(self, dataset: Any, timer: _Timer, fused: bool):
        self._dataset = dataset
        self._timer = timer
        self._fused = fused
        self._pipeline = dataset.pipeline
        dataset.pipeline = self._timed_pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __getitem__(self, key: Any) -> Any:
        return self._timer.run(READ, self._dataset.__getitem__, key)

    def _timed_pipeline(self, key: Any) -> Callable:
        pipeline = self._pipeline(key)
        steps = pipeline.steps if self._fused else pipeline.operators

        def apply(image: Any, rng: np.random.Generator) -> Any:
            if not isinstance(image, np.ndarray):
                self._timer.run(DECODE_ONLY, _decode_only, image)
            for step in steps:
                image = self._timer.run(_name(step), step, image, rng)
            return image

        return apply


def _decode_only(data: bytes) -> None:
    cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
