"""How long each image of a dataset takes to load."""

import multiprocessing
import time
from typing import Any

import numpy as np

from ppcls.data.loader import DataLoader
from ppcls.data.randomness import SampleKey


class TimedDataset:
    """A dataset that keeps how long each of its images took to read, decode and preprocess.

    Worker processes write to the same memory, so it is known wherever an image was loaded.

    Args:
        dataset: see `ppcls.data.dataset`; everything else is asked of it.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset
        self._memory = multiprocessing.RawArray("d", len(dataset))

    @classmethod
    def of(cls, loader: DataLoader) -> "TimedDataset":
        """Times the images of a loader from now on; before its first iteration."""
        timed = cls(loader.dataset)
        loader.make_batch.dataset = timed
        return timed

    def seconds(self) -> np.ndarray:
        """(N,) float64; 0 for images that have not been loaded."""
        return np.frombuffer(self._memory)

    def __getitem__(self, key: SampleKey) -> Any:
        started = time.perf_counter()
        sample = self._dataset[key]
        self.seconds()[key.index] = time.perf_counter() - started
        return sample

    def __len__(self) -> int:
        return len(self._dataset)

    def path(self, index: int) -> str:
        return self._dataset.path(index)

    @property
    def on_error(self) -> str:
        return self._dataset.on_error
