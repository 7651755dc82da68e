"""Names of samples, without a Python object each."""

import os
from collections.abc import Iterable, Iterator

import numpy as np


class PackedNames:
    """Texts in one piece of memory: their bytes, and where each begins and ends.

    A list of a million paths stays near the size of its file, and worker processes share it: no
    object is touched (and so copied) when a name is read.

    Args:
        text: the bytes of all of them.
        starts, ends: (N,) int64, places in `text`.
    """

    def __init__(self, text: bytes, starts: np.ndarray, ends: np.ndarray):
        self.text = text
        self.starts = starts
        self.ends = ends

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "PackedNames":
        """Packs `names`."""
        names = list(names)
        ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])[: len(names)]
        return cls(b"".join(names), starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def every(self, step: int, first: int) -> Iterator[str]:
        """The names `first`, `first + step`, ...; faster than one by one."""
        some = slice(first, None, step)
        for start, end in zip(self.starts[some].tolist(), self.ends[some].tolist()):
            yield os.fsdecode(self.text[start:end])

    def __getitem__(self, index: int) -> str:
        """The name, which need not be UTF-8 on the disk (see `os.fsdecode`)."""
        return os.fsdecode(self.text[self.starts[index] : self.ends[index]])
