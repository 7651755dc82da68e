"""Any number of images through a program that takes one number only."""

from collections.abc import Iterable
from typing import Any

import numpy as np


class FixedBatch:
    """Runs images `size` at a time; the last ones are filled up with zeros, whose outputs go.

    Args:
        engine: runs exactly `size` images.
        size: images per run.
    """

    def __init__(self, engine: Any, size: int):
        self._engine = engine
        self._size = size
        self.name = engine.name

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> the first output, (B, class_num) float32."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        count = len(images)
        missing = -count % self._size
        if missing:
            zeros = np.zeros((missing, *images.shape[1:]), dtype=images.dtype)
            images = np.concatenate([images, zeros])
        runs = [
            self._engine.run_all(images[start : start + self._size])
            for start in range(0, len(images), self._size)
        ]
        return [output[:count] for output in joined(runs)]


def joined(runs: "Iterable[list[np.ndarray]]") -> "list[np.ndarray]":
    """Every output of several runs, as one run gives them."""
    return [np.concatenate(parts) for parts in zip(*runs)]
