"""List files: one image a line, `path<delimiter>label`."""

import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

import numpy as np

from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import labels_outside, list_first

_BOM = b"\xef\xbb\xbf"
_LABEL = re.compile(rb"\s*[+-]?\d{1,18}")
_ROW_VALUES = {b"0": 0, b"1": 1, b"-1": -1}


class ListFile:
    """A list file in memory.

    What a label is, the children say. A label is what follows
    the last delimiter, so paths may contain it; paths are bytes until they are asked for, so they
    need not be UTF-8. Lines that cannot be read are kept as `faults`, with their numbers, and are
    not samples.

    Args:
        path: the list file, with or without a byte order mark, any line ends.
        delimiter: between path and label; None is any white space.
    """

    #: What errors call a label.
    label_form: str
    #: Type code of the numbers of labels, as in `array`.
    label_type: str

    def __init__(self, path: Union[str, Path], delimiter: Optional[str] = None):
        self.path = Path(path)
        self.delimiter = delimiter
        self.faults: list[str] = []
        text = b""
        try:
            text = self.path.read_bytes()
        except OSError as error:
            self.faults.append(f"{self.path}: cannot be read: {error.strerror}")
        self._parse(text)
        if not len(self) and not self.faults:
            self.faults.append(f"{self.path}: the list is empty")

    def __len__(self) -> int:
        return len(self.names)

    def _read_label(self, field: bytes) -> "Optional[Sequence[int]]":
        """The numbers of a label, as many for every line; None if `field` is not a label."""
        raise NotImplementedError

    def _parse(self, text: bytes) -> None:
        delimiter = None if self.delimiter is None else os.fsencode(self.delimiter)
        # Arrays of machine integers: a list of a million paths stays near the size of its file.
        starts, ends, labels = array("q"), array("q"), array(self.label_type)
        wrong = []
        position = len(_BOM) if text.startswith(_BOM) else 0
        number = 0
        while position < len(text):
            number += 1
            line_end = text.find(b"\n", position) + 1 or len(text)
            line = text[position:line_end]
            fields = line.strip().rsplit(delimiter, 1)
            label = self._read_label(fields[1]) if len(fields) == 2 else None
            if label is not None and fields[0].strip():
                start = text.index(fields[0], position)
                starts.append(start)
                ends.append(start + len(fields[0].rstrip()))
                labels.extend(label)
            else:
                wrong.append((number, line))
            position = line_end
        #: The paths, as written in the list.
        self.names = PackedNames(
            text, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
        )
        self._labels = np.array(labels, dtype=self.label_type)
        self.faults += list_first(wrong, self._describe, f"{len(wrong)} of {number} lines")

    def _describe(self, numbered_line: tuple[int, bytes]) -> str:
        number, line = numbered_line
        text = os.fsdecode(line.strip())
        shown = f"'{text}'" if text else "a blank line"
        between = "white space" if self.delimiter is None else repr(self.delimiter)
        return (
            f"{self.path}: line {number}: expected a path, {between} and {self.label_form}, "
            f"found {shown}"
        )


class LabelList(ListFile):
    """A list file with a whole-number label per line."""

    label_form = "a whole-number label"
    label_type = "q"

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        return self._labels

    def renumber(self) -> None:
        """Numbers the labels that occur from 0 on, in their order."""
        self._labels = np.unique(self._labels, return_inverse=True)[1].astype(np.int64)

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence for each sample whose label is not in 0..class_num-1."""

        def name(index: int) -> str:
            return f"{self.path}: {self.names[index]}"

        return labels_outside(self.labels, class_num, name)

    def _read_label(self, field: bytes) -> "Optional[Sequence[int]]":
        return (int(field),) if _LABEL.fullmatch(field) else None


class MultiLabelList(ListFile):
    """A list file with a row such as `0,1,0` per line: for each class, whether it is present.

    1 is present, 0 is not, -1 is unknown. The first row says how many classes there are.
    """

    label_type = "b"

    def __init__(self, path: Union[str, Path], delimiter: Optional[str] = None):
        self._width = 0
        super().__init__(path, delimiter)

    @property
    def label_form(self) -> str:
        count = self._width or "several"
        return f"{count} labels 0, 1 or -1 (unknown) with commas between"

    @property
    def labels(self) -> np.ndarray:
        """(N, class_num) int8."""
        return self._labels.reshape(len(self), self._width)

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence if the rows do not have `class_num` labels."""
        return row_problems(self.path, self._width if len(self) else class_num, class_num)

    def _read_label(self, field: bytes) -> "Optional[Sequence[int]]":
        row = read_row(field.split(b","))
        if row is None or (self._width and len(row) != self._width):
            return None
        self._width = len(row)
        return row


def read_row(values: "Sequence[bytes]") -> "Optional[list[int]]":
    """The labels of a multi-label row, each 0, 1 or -1; None if one is none of these."""
    row = [_ROW_VALUES.get(value.strip()) for value in values]
    return None if None in row else row


def row_problems(path: Path, width: int, class_num: int) -> "list[str]":
    """A sentence if the rows of a file are not as wide as the model."""
    if width == class_num:
        return []
    return [f"{path}: rows have {width} labels, but Arch.class_num is {class_num}"]
