"""The images of a batch side by side, each on a thread of its own."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import numpy as np

from ppcls.inference.engines.fixed_batch import joined


class SideBySide:
    """Runs each image of a batch singly, `threads` of them at a time.

    Args:
        make: makes, when the first batch comes, the engine: it runs one image on one thread, and
            several threads may call it.
        threads: images at a time.
    """

    def __init__(self, make: "Callable[[], Any]", threads: int):
        self._make = make
        self._threads = threads

    @functools.cached_property
    def _engine(self) -> Any:
        return self._make()

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="side-by-side")

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        singly = [images[number : number + 1] for number in range(len(images))]
        return joined(self._pool.map(self._engine.run_all, singly))
