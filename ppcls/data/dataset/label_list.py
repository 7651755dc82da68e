"""List files: one image a line, `path<delimiter>label`.

Lines of the ordinary form are read many at a time with NumPy (a million in a fraction of a second);
all others one by one, with the same result.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import labels_outside, list_first

_BOM = b"\xef\xbb\xbf"
_LABEL = re.compile(rb"\s*[+-]?\d{1,18}")
_MAX_DIGITS = 18
_ROW_VALUES = {b"0": 0, b"1": 1, b"-1": -1}

_IS_WHITE = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))
_BYTES_AT_ONCE = 2**20


class _Lines(NamedTuple):
    """Some lines of a text: the places of their first bytes, and of their ends."""

    text: bytes
    data: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


class _Entry(NamedTuple):
    """What a line says: the place of its path, and its label."""

    start: int
    stop: int
    label: Union[int, "list[int]"]


class ListFile:
    """A list file in memory.

    What a label is, the children say. A label is what follows the last delimiter, so paths may
    contain it; paths are bytes until they are asked for, so they need not be UTF-8. Lines that
    cannot be read are kept as `faults`, with their numbers, and are not samples.

    Args:
        path: the list file, with or without a byte order mark, any line ends.
        delimiter: between path and label; None is any white space.
    """

    #: What errors call a label.
    label_form: str

    def __init__(self, path: Union[str, Path], delimiter: Optional[str] = None):
        self.path = Path(path)
        self.delimiter = delimiter
        self._delimiter = None if delimiter is None else os.fsencode(delimiter)
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

    def _read_label(self, field: bytes) -> "Optional[Union[int, list[int]]]":
        """The label that `field` spells; None if it spells none."""
        raise NotImplementedError

    def _read_plain(self, lines: _Lines) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Reads the lines of the ordinary form `path<delimiter>label`, without further spaces.

        Returns:
            (n,) bool, which lines these are; (n,) int64, where their paths end; and (n, ...), their
            labels. For other lines the last two mean nothing.
        """
        raise NotImplementedError

    def _parse(self, text: bytes) -> None:
        total = text.count(b"\n") + (not text.endswith(b"\n"))
        # Filled in place: a part at a time, so that little is needed beside them.
        starts, stops = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
        labels = np.zeros(0, dtype=np.int64)
        count = number = 0
        wrong: list[tuple[int, bytes]] = []
        for lines in _some_lines(text):
            part = self._read(lines, number + 1, wrong)
            number += len(lines.starts)
            if not len(part[0]):
                continue
            if not count:
                labels = np.empty((total, *part[2].shape[1:]), dtype=part[2].dtype)
            some = slice(count, count + len(part[0]))
            starts[some], stops[some], labels[some] = part
            count = some.stop
        #: The paths, as written in the list.
        self.names = PackedNames(text, starts[:count], stops[:count])
        self.labels = labels[:count]
        self.faults += list_first(wrong, self._describe, f"{len(wrong)} of {number} lines")

    def _read(
        self, lines: _Lines, number: int, wrong: "list[tuple[int, bytes]]"
    ) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Paths' starts, stops and labels of the lines that can be read; the others to `wrong`."""
        is_read, stops, labels = self._read_plain(lines)
        starts = lines.starts.copy()
        for place in np.flatnonzero(~is_read).tolist():
            entry = self._read_line(lines, place)
            if entry is None:
                line = lines.text[lines.starts[place] : lines.stops[place]]
                wrong.append((number + place, line))
            else:
                starts[place], stops[place], labels[place] = entry
                is_read[place] = True
        return starts[is_read], stops[is_read], labels[is_read]

    def _read_line(self, lines: _Lines, place: int) -> Optional[_Entry]:
        start = int(lines.starts[place])
        line = lines.text[start : lines.stops[place]]
        fields = line.strip().rsplit(self._delimiter, 1)
        label = self._read_label(fields[1]) if len(fields) == 2 else None
        if label is None or not fields[0].strip():
            return None
        name = fields[0].rstrip()
        start += line.index(name)
        return _Entry(start, start + len(name), label)

    def _is_plain(self, lines: _Lines, delimiters: np.ndarray) -> np.ndarray:
        """Whether a line has a delimiter at that place, and a path without spaces around before.

        Args:
            delimiters: (n,) int64, places not before the start of the line.
        """
        found = lines.data[delimiters]
        if self._delimiter is None:
            is_delimiter = (found == ord(" ")) | (found == ord("\t"))
        elif len(self._delimiter) == 1:
            is_delimiter = found == ord(self._delimiter)
        else:
            return np.zeros(len(found), dtype=bool)
        return (
            is_delimiter
            & (delimiters > lines.starts)
            & ~_IS_WHITE[lines.data[lines.starts]]
            & ~_IS_WHITE[lines.data[np.maximum(delimiters - 1, 0)]]
        )

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
    """A list file with a whole-number label per line; `labels` is (N,) int64."""

    label_form = "a whole-number label"

    def renumber(self) -> None:
        """Numbers the labels that occur from 0 on, in their order."""
        self.labels = np.unique(self.labels, return_inverse=True)[1].astype(np.int64)

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence for each sample whose label is not in 0..class_num-1."""

        def name(index: int) -> str:
            return f"{self.path}: {self.names[index]}"

        return labels_outside(self.labels, class_num, name)

    def _read_label(self, field: bytes) -> Optional[int]:
        return int(field) if _LABEL.fullmatch(field) else None

    def _read_plain(self, lines: _Lines) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        labels = np.zeros(len(lines.starts), dtype=np.int64)
        places = np.maximum(lines.stops - 1, lines.starts)
        in_label = lines.stops > lines.starts
        # From the last digit of all lines to the first.
        for digit in range(_MAX_DIGITS):
            values = lines.data[places].astype(np.int64) - ord("0")
            in_label &= (values >= 0) & (values <= 9) & (places > lines.starts)
            if not in_label.any():
                break
            labels += np.where(in_label, values * 10**digit, 0)
            places -= in_label
        is_plain = ~in_label & (places < lines.stops - 1) & self._is_plain(lines, places)
        return is_plain, places, labels


class MultiLabelList(ListFile):
    """A list file with a row such as `0,1,0` per line: for each class, whether it is present.

    1 is present, 0 is not, -1 is unknown. The first row says how many classes there are; `labels`
    is (N, class_num) int8.
    """

    def __init__(self, path: Union[str, Path], delimiter: Optional[str] = None):
        self._width = 0
        super().__init__(path, delimiter)

    @property
    def label_form(self) -> str:
        count = self._width or "several"
        return f"{count} labels 0, 1 or -1 (unknown) with commas between"

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence if the rows do not have `class_num` labels."""
        return row_problems(self.path, self._width if len(self) else class_num, class_num)

    def _read_label(self, field: bytes) -> "Optional[list[int]]":
        row = read_row(field.split(b","))
        if row is None or (self._width and len(row) != self._width):
            return None
        self._width = len(row)
        return row

    def _read_plain(self, lines: _Lines) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        count = len(lines.starts)
        for place in range(count):  # Up to the first row, which sets the width.
            if self._width or self._read_line(lines, place):
                break
        # Rows of single digits are this long.
        length = 2 * self._width - 1
        delimiters = np.maximum(lines.stops - length - 1, lines.starts)
        if not self._width:
            return np.zeros(count, dtype=bool), delimiters, np.zeros((count, 0), dtype=np.int8)
        labels = np.empty((count, self._width), dtype=np.int8)
        is_plain = self._is_plain(lines, delimiters)
        for number in range(self._width):
            # Lines that are too short are not plain, wherever this looks.
            place = np.minimum(delimiters + 1 + 2 * number, len(lines.data) - 1)
            values = lines.data[place]
            labels[:, number] = values == ord("1")
            is_plain &= (values == ord("0")) | (values == ord("1"))
            is_plain &= (lines.data[place - 1] == ord(",")) | (number == 0)
        return is_plain, delimiters, labels


def _some_lines(text: bytes) -> Iterator[_Lines]:
    """All lines of a text, some at a time, without their ends `\\n` or `\\r\\n`."""
    data = np.frombuffer(text, dtype=np.uint8)
    first = len(_BOM) if text.startswith(_BOM) else 0
    while first < len(text):
        last = text.rfind(b"\n", first, first + _BYTES_AT_ONCE) + 1
        last = last or text.find(b"\n", first) + 1 or len(text)
        stops = first + np.flatnonzero(data[first:last] == ord("\n"))
        if data[last - 1] != ord("\n"):
            stops = np.append(stops, last)
        starts = np.concatenate([[first], stops[:-1] + 1])
        has_return = (stops > starts) & (data[np.maximum(stops - 1, 0)] == ord("\r"))
        yield _Lines(text, data, starts, stops - has_return)
        first = last


def read_row(values: "Sequence[bytes]") -> "Optional[list[int]]":
    """The labels of a multi-label row, each 0, 1 or -1; None if one is none of these."""
    row = [_ROW_VALUES.get(value.strip()) for value in values]
    return None if None in row else row


def row_problems(path: Path, width: int, class_num: int) -> "list[str]":
    """A sentence if the rows of a file are not as wide as the model."""
    if width == class_num:
        return []
    return [f"{path}: rows have {width} labels, but Arch.class_num is {class_num}"]
