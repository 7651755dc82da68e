"""CSV files of multi-label data: a header that names the classes, a row per image."""

import csv
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import numpy as np

from ppcls.data.dataset.label_list import read_row, row_problems
from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import list_first
from ppcls.errors import DataError, did_you_mean


class CsvList:
    """A CSV file in memory, with what `MultiLabelList` offers.

    Rows that cannot be read are kept as `faults`, with their line numbers, and are not samples.

    Args:
        path: the file; the first line is the header.
        path_column: name of the column with the paths; the first one if not given.
        classes: names of the columns that are classes; all others than the paths' if not given.
        delimiter: between columns, one character.
    """

    def __init__(
        self,
        path: str,
        path_column: Optional[str] = None,
        classes: "Optional[list[str]]" = None,
        delimiter: str = ",",
    ):
        self.path = Path(path)
        self.faults: list[str] = []
        self.names = PackedNames.of([])
        self.classes = list(classes or [])
        self.labels = np.zeros((0, len(self.classes)), dtype=np.int8)
        try:
            with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
                self._parse(csv.reader(file, delimiter=delimiter, strict=True), path_column)
        except OSError as error:
            self.faults.append(f"{path}: cannot be read: {error.strerror}")
        except DataError as error:
            self.faults.append(f"{path}: {error}")
        if not len(self.names) and not self.faults:
            self.faults.append(f"{path}: the file has no rows")

    def label_problems(self, class_num: int) -> "list[str]":
        """A sentence if the file does not have `class_num` classes."""
        if not len(self.names):
            return []
        return row_problems(self.path, len(self.classes), class_num)

    def _parse(self, reader: "Iterator[list[str]]", path_column: Optional[str]) -> None:
        try:
            header = [name.strip() for name in next(reader, [])]
            path_place, places = self._columns(header, path_column)
            names, labels, wrong = [], array("b"), []
            for row in reader:
                label = None
                if len(row) == len(header) and row[path_place].strip():
                    label = read_row([os.fsencode(row[place]) for place in places])
                if label is None:
                    wrong.append((reader.line_num, row))
                else:
                    names.append(os.fsencode(row[path_place].strip()))
                    labels.extend(label)
        except csv.Error as error:
            raise DataError(f"line {reader.line_num}: {error}") from error
        self.names = PackedNames.of(names)
        self.labels = np.array(labels, dtype=np.int8).reshape(len(names), len(places))

        def describe(numbered_row: "tuple[int, list[str]]") -> str:
            number, row = numbered_row
            return (
                f"{self.path}: line {number}: expected {len(header)} columns, a path and labels "
                f"0, 1 or -1 (unknown), found {','.join(row) or 'a blank line'}"
            )

        self.faults += list_first(
            wrong, describe, f"{len(wrong)} of {len(wrong) + len(names)} rows"
        )

    def _columns(self, header: "list[str]", path_column: Optional[str]) -> "tuple[int, list[int]]":
        """The places of the column with the paths and of those that are classes."""
        if len(header) < 2:
            raise DataError("the header must name a column of paths and the classes")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"the header has {', '.join(twice)} twice")
        path_column = path_column or header[0]
        self.classes = self.classes or [name for name in header if name != path_column]
        for name in (path_column, *self.classes):
            if name not in header:
                raise DataError(f"the header has no column '{name}'{did_you_mean(name, header)}")
        return header.index(path_column), [header.index(name) for name in self.classes]
