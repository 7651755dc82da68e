"""The table of models that `tools/list_models.py` prints."""

import sys
from collections.abc import Sequence
from typing import Optional

from ppcls.arch.pretrained import RECORDS
from ppcls.arch.published import FIGURES

_HEADER = ["model", "input", "params M", "MACs G", "top-1 %", "weights", "licence", "paper"]
_NOTE = (
    "params and MACs: published{counted}. MACs are multiply-accumulates for one image, with those "
    "of attention and of dynamic aggregation, without norms, activations and resizing. top-1: "
    "ImageNet-1k, of the published weights where there are some, else of the paper."
)


def format_table(names: Sequence[str], count: bool = False) -> str:
    """The table of `names` as aligned text.

    Args:
        count: build each model and print its own parameters and MACs before the published ones.
    """
    rows = [_HEADER]
    for number, name in enumerate(names, start=1):
        if count and sys.stderr.isatty():
            print(f"\r\033[Kcounting {number}/{len(names)} {name}", end="", file=sys.stderr)
        rows.append(_row(name, count))
    if count and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    note = _NOTE.format(counted=", behind those counted here" if count else "")
    return "\n".join([*(line.rstrip() for line in lines), "", note])


def records_table() -> str:
    """The published weights as a Markdown table, for docs/*/weights.md."""
    lines = [
        "| weights | input | resize | top-1 | from | licence | file |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in RECORDS.values():
        link = f"[{record.file_name}]({record.url})"
        lines.append(
            f"| {record.key} | {record.image_size} | {record.resize_short} | {record.top1:.1f} | "
            f"{record.origin} | {record.licence} | {link} |"
        )
    return "\n".join(lines)


def _row(name: str, count: bool) -> "list[str]":
    record, figures = RECORDS.get(name), FIGURES.get(name)
    size = record.image_size if record else 224
    parameters = _published(figures.parameters_m) if figures else "-"
    macs = _published(figures.macs_g) if figures else "-"
    if count:
        counted = _counted(name, size)
        parameters, macs = f"{counted[0]} ({parameters})", f"{counted[1]} ({macs})"
    top1 = record.top1 if record else figures.top1 if figures else None
    return [
        name,
        str(size),
        parameters,
        macs,
        _published(top1),
        record.origin if record else "-",
        record.licence if record else "-",
        record.paper if record else figures.paper if figures else "-",
    ]


def _published(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:g}"


def _counted(name: str, size: int) -> "tuple[str, str]":
    from ppcls.arch.build import build_model
    from ppcls.arch.complexity import count_complexity

    complexity = count_complexity(build_model(name), (3, size, size))
    return f"{complexity.parameters / 1e6:.2f}", f"{complexity.total_macs / 1e9:.3f}"
