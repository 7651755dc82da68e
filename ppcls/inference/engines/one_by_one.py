"""A batch at once, or its images one by one, whichever this machine does faster."""

import threading
import time
from typing import Any, Callable, Optional

import numpy as np

from ppcls.inference.engines.fixed_batch import FixedBatch

#: Images and rounds of the measurement.
_IMAGES, _ROUNDS = 4, 2


class FasterWay:
    """Runs batches the faster way, which the first batch of several images decides.

    On CPUs a large model is often faster image by image: what one layer leaves still lies in the
    cache when the next one reads it. The operators of a small one take longer to start than to run,
    and share that in a batch. Later batches are all run as the first one, so that within a process
    an image has the same outputs every time.

    Args:
        engine: runs any number of images.
    """

    def __init__(self, engine: Any):
        self._engine = engine
        self._singly = FixedBatch(engine, 1)
        self._one_by_one: Optional[bool] = None
        self._lock = threading.Lock()
        self.name = engine.name

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> the first output, (B, class_num) float32."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        if len(images) == 1:
            return self._engine.run_all(images)
        with self._lock:
            if self._one_by_one is None:
                part = images[:_IMAGES]
                at_once = _seconds(self._engine.run_all, part)
                self._one_by_one = _seconds(self._singly.run_all, part) < at_once
        return (self._singly if self._one_by_one else self._engine).run_all(images)


def _seconds(run: "Callable[[np.ndarray], Any]", images: np.ndarray) -> float:
    """Of the fastest run, after a first one that prepares."""
    run(images)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return min(times)
