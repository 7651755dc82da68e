"""A batch at once, its images one by one, or side by side: whichever this machine does fastest."""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

#: Images, for up to two cores, and rounds of the measurement.
_IMAGES, _ROUNDS = 4, 2


class FasterWay:
    """Runs batches the fastest way, which the first batch of several images decides.

    On CPUs a large model is often faster image by image: what one layer leaves still lies in the
    cache when the next one reads it; and several cores do more with an image each than together on
    one. The operators of a small model take longer to start than to run, and share that in a batch.
    Later batches are all run as the first one, so that within a process an image has the same
    outputs every time.

    Args:
        engine: runs single images.
        ways: engines that run batches; with a single one nothing is measured.
        threads: cores that a run uses.
    """

    def __init__(self, engine: Any, ways: "Sequence[Any]", threads: int = 1):
        self._engine = engine
        self._ways = list(ways)
        self._images = _IMAGES * math.ceil(threads / 2)
        self._fastest: Optional[Any] = ways[0] if len(ways) == 1 else None
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
            if self._fastest is None:
                part = images[: self._images]
                self._fastest = min(self._ways, key=lambda way: _seconds(way, part))
                self._ways = []
        return self._fastest.run_all(images)


def _seconds(engine: Any, images: np.ndarray) -> float:
    """Of the fastest run, after a first one that prepares."""
    engine.run_all(images)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        engine.run_all(images)
        times.append(time.perf_counter() - start)
    return min(times)
