"""A table with one image a row and its labels, in either of the two usual forms.

One column of texts, several labels joined by a separator, or one column per class holding 0 or 1:

    image,labels            image,beach,sunset
    1.jpg,beach|sunset      1.jpg,1,1
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppcls.data.prepare.lists import Images, ListOptions, Prepared, refuse_existing, write_lists
from ppcls.data.prepare.splitting import FREE, PARTS
from ppcls.errors import DataError, did_you_mean

_FLAGS = {"0": 0, "1": 1, "-1": -1, "0.0": 0, "1.0": 1, "-1.0": -1, "false": 0, "true": 1}
_PART_TEXTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SHOWN = 10


@dataclass(frozen=True)
class CsvOptions:
    """How a table is to be read.

    Args:
        image_root: folder that image names are relative to; None is the table's.
        image_column: column of image names; None is the first.
        label_columns: one column of texts, or one per class; none is all other columns.
        part_column: column that says train, val or test.
        suffix: appended to image names, e.g. ".jpg".
        separator: between labels in a column of texts.
        multi_label: write multi-label lists though no row has more than one label.
    """

    image_root: Optional[Path] = None
    image_column: Optional[str] = None
    label_columns: "tuple[str, ...]" = ()
    part_column: Optional[str] = None
    suffix: str = ""
    separator: str = "|"
    multi_label: bool = False


def prepare_csv(table: Path, options: CsvOptions, list_options: ListOptions) -> Prepared:
    """Writes the lists of a CSV table.

    The lists are multi-label unless the labels are texts and every row has exactly one.

    Raises:
        DataError: the table or columns cannot be read; names lines. Or lists exist.
    """
    root = options.image_root or table.parent
    refuse_existing(list_options.output or root, list_options.overwrite)
    header, rows = _read(table)
    image = _column(table, header, options.image_column or header[0])
    part = None if options.part_column is None else _column(table, header, options.part_column)
    columns = [_column(table, header, name) for name in options.label_columns]
    if not columns:
        columns = [i for i in range(len(header)) if i not in (image, part)]
    if not columns:
        raise DataError(f"{table}: there is no column of labels beside '{header[image]}'")
    names = [row[image].strip() + options.suffix for _, row in rows]
    _refuse_repeated(table, names, rows)
    if len(columns) == 1:
        texts = [row[columns[0]] for _, row in rows]
        labels, classes = _labels_of_texts(texts, options)
    else:
        labels = _labels_of_flags(table, header, rows, columns)
        classes = [header[column] for column in columns]
    parts = np.full(len(rows), FREE, "<U5")
    if part is not None:
        parts = _parts(table, rows, part)
    return write_lists(Images(root, names, labels, classes, parts), list_options)


_Rows = Sequence["tuple[int, list[str]]"]


def _read(table: Path) -> "tuple[list[str], list[tuple[int, list[str]]]]":
    """The header, and the rows with the numbers of their lines."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            lines = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV table in UTF-8: {error}") from error
    if len(lines) < 2:
        raise DataError(f"{table} must hold a line of column names and rows; it has {len(lines)}")
    header = [name.strip() for name in lines[0][1]]
    faults = [
        f"{table}: line {number}: {len(row)} columns, but the first line has {len(header)}"
        for number, row in lines[1:]
        if len(row) != len(header)
    ]
    _refuse(faults)
    return header, lines[1:]


def _column(table: Path, header: "list[str]", name: str) -> int:
    if name not in header:
        hint = did_you_mean(name, header) or f"; it has {', '.join(header)}"
        raise DataError(f"{table} has no column '{name}'{hint}")
    return header.index(name)


def _refuse_repeated(table: Path, names: "list[str]", rows: _Rows) -> None:
    seen: dict[str, int] = {}
    faults = []
    for name, (number, _) in zip(names, rows):
        if name in seen:
            faults.append(f"{table}: line {number}: {name} is in line {seen[name]} already")
        seen.setdefault(name, number)
    _refuse(faults)


def _labels_of_texts(texts: "list[str]", options: CsvOptions) -> "tuple[np.ndarray, list[str]]":
    """(N,) class numbers if every text is one label, else (N, C) of 0 and 1; the sorted classes."""
    of_rows = [
        [label.strip() for label in text.split(options.separator) if label.strip()]
        for text in texts
    ]
    classes = sorted({label for labels in of_rows for label in labels}, key=_natural)
    number = {name: index for index, name in enumerate(classes)}
    if not options.multi_label and all(len(labels) == 1 for labels in of_rows):
        return np.array([number[labels[0]] for labels in of_rows], np.int64), classes
    rows = np.zeros((len(texts), len(classes)), np.int8)
    for row, labels in zip(rows, of_rows):
        row[[number[label] for label in labels]] = 1
    return rows, classes


def _natural(name: str) -> Any:
    """Sorts "2" before "10", and texts after numbers."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _labels_of_flags(
    table: Path, header: "list[str]", rows: _Rows, columns: "list[int]"
) -> np.ndarray:
    """(N, C) of 0, 1 and -1 (unknown)."""
    labels = np.zeros((len(rows), len(columns)), np.int8)
    faults = []
    for index, (number, row) in enumerate(rows):
        for class_id, column in enumerate(columns):
            flag = _FLAGS.get(row[column].strip().lower())
            if flag is None:
                faults.append(
                    f"{table}: line {number}: column '{header[column]}' must be 0, 1 or -1 "
                    f"(unknown), found '{row[column]}'; name the columns that are labels with "
                    "--label-column"
                )
            else:
                labels[index, class_id] = flag
    _refuse(faults)
    return labels


def _parts(table: Path, rows: _Rows, column: int) -> np.ndarray:
    texts = [row[column].strip().lower() for _, row in rows]
    _refuse(
        [
            f"{table}: line {number}: expected {', '.join(PARTS)}, found '{text}'"
            for text, (number, _) in zip(texts, rows)
            if text not in _PART_TEXTS
        ]
    )
    return np.array([_PART_TEXTS[text] for text in texts], "<U5")


def _refuse(faults: "list[str]") -> None:
    if faults:
        more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataError("\n".join(faults[:_SHOWN] + more))
