"""List files: one image a line, `path<delimiter>label`."""

import os
import re
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

_BOM = b"\xef\xbb\xbf"
_LABEL = re.compile(rb"\s*[+-]?\d{1,18}")
_SHOWN = 10


class LabelList:
    """A list file in memory: the bytes of the file and three integers per line.

    A label is what follows the last delimiter, so paths may contain it; paths are bytes until
    they are asked for, so they need not be UTF-8. Lines that cannot be read are kept as `faults`,
    with their numbers, and are not samples.

    Args:
        path: the list file, with or without a byte order mark, any line ends.
        delimiter: between path and label; None is any white space.
    """

    def __init__(self, path: Union[str, Path], delimiter: Optional[str] = None):
        self.path = Path(path)
        self.delimiter = delimiter
        self.faults: list[str] = []
        self._text = b""
        self._starts = self._ends = np.zeros(0, dtype=np.int64)
        self.labels = np.zeros(0, dtype=np.int64)
        try:
            self._text = self.path.read_bytes()
        except OSError as error:
            self.faults.append(f"{self.path}: cannot be read: {error.strerror}")
            return
        self._parse()
        if not len(self) and not self.faults:
            self.faults.append(f"{self.path}: the list is empty")

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """The path of a sample, as written in the list."""
        return os.fsdecode(self._text[self._starts[index] : self._ends[index]])

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence for each sample whose label is not in 0..class_num-1."""
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= class_num))

        def describe(index: int) -> str:
            return (
                f"{self.path}: {self.name(index)}: label {self.labels[index]} is outside "
                f"0..{class_num - 1} (Arch.class_num is {class_num})"
            )

        return list_first(outside, describe, f"{len(outside)} of {len(self)} labels")

    def _parse(self) -> None:
        delimiter = None if self.delimiter is None else os.fsencode(self.delimiter)
        # Arrays of machine integers: a list of a million paths stays near the size of its file.
        starts, ends, labels = array("q"), array("q"), array("q")
        wrong = []
        text = self._text
        position = len(_BOM) if text.startswith(_BOM) else 0
        number = 0
        while position < len(text):
            number += 1
            line_end = text.find(b"\n", position) + 1 or len(text)
            line = text[position:line_end]
            fields = line.strip().rsplit(delimiter, 1)
            if len(fields) == 2 and _LABEL.fullmatch(fields[1]) and fields[0].strip():
                start = text.index(fields[0], position)
                starts.append(start)
                ends.append(start + len(fields[0].rstrip()))
                labels.append(int(fields[1]))
            else:
                wrong.append((number, line))
            position = line_end
        self._starts = np.array(starts, dtype=np.int64)
        self._ends = np.array(ends, dtype=np.int64)
        self.labels = np.array(labels, dtype=np.int64)
        self.faults += list_first(wrong, self._describe, f"{len(wrong)} of {number} lines")

    def _describe(self, numbered_line: tuple[int, bytes]) -> str:
        number, line = numbered_line
        text = os.fsdecode(line.strip())
        shown = f"'{text}'" if text else "a blank line"
        between = "white space" if self.delimiter is None else repr(self.delimiter)
        return (
            f"{self.path}: line {number}: expected a path, {between} and a whole-number label, "
            f"found {shown}"
        )


def list_first(items: Sequence[Any], describe: Callable[[Any], str], what: str) -> "list[str]":
    """What `describe` says of the first items, and how many of `what` they are if many."""
    messages = [describe(item) for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        messages.append(f"... and {len(items) - _SHOWN} more like these ({what})")
    return messages
