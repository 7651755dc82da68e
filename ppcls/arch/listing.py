"""The table of models that `tools/list_models.py` prints."""

import sys
from collections.abc import Sequence
from typing import Optional

from ppcls.arch.pretrained import RECORDS, WeightRecord

_HEADER = ["model", "params M", "MACs G", "input", "top-1 %", "weights", "licence", "paper"]


def format_table(names: Sequence[str], count: bool = False) -> str:
    """The table of `names` as aligned text, with counted columns if asked for."""
    rows = []
    for number, name in enumerate(names, start=1):
        if count and sys.stderr.isatty():
            print(f"\r\033[Kcounting {number}/{len(names)} {name}", end="", file=sys.stderr)
        rows.append(_row(name, RECORDS.get(name), count))
    if count and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    table = [_HEADER, *rows]
    if not count:
        table = [row[:1] + row[3:] for row in table]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def _row(name: str, record: Optional[WeightRecord], count: bool) -> "list[str]":
    size = record.image_size if record else 224
    parameters, macs = _counted(name, size) if count else ("", "")
    published = ["-"] * 4
    if record is not None:
        published = [f"{record.top1:.1f}", record.origin, record.licence, record.paper]
    return [name, parameters, macs, str(size), *published]


def _counted(name: str, size: int) -> "tuple[str, str]":
    from ppcls.arch.build import build_model
    from ppcls.arch.complexity import count_complexity

    complexity = count_complexity(build_model(name), (3, size, size))
    return f"{complexity.parameters / 1e6:.2f}", f"{complexity.total_macs / 1e9:.3f}"
