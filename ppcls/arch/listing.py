"""The table of models that `tools/list_models.py` prints."""

import argparse
import sys
from collections.abc import Sequence
from typing import Optional

from ppcls.arch.pretrained import RECORDS, WeightRecord
from ppcls.errors import UserError

_HEADER = ["model", "params M", "MACs G", "input", "top-1 %", "weights", "licence", "paper"]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parses the command line and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="List the models, with the input size, published top-1, licence and origin of "
        "their weights. A dash means that no weights are published."
    )
    parser.add_argument(
        "pattern", nargs="?", default="*", help="shell pattern of names, e.g. 'DSNet_*'"
    )
    parser.add_argument(
        "--count",
        action="store_true",
        help="build each model and count trainable parameters and multiply-accumulates (with "
        "attention products, without resizing and normalisation); takes about a second a model",
    )
    parser.add_argument(
        "--paddleclas",
        action="store_true",
        help="also list the backbones of the installed package paddleclas",
    )
    options = parser.parse_args(arguments)

    from ppcls.arch import list_models

    names = list_models(options.pattern, paddleclas=options.paddleclas)
    if not names:
        print(f"no model matches '{options.pattern}'", file=sys.stderr)
        return 1
    try:
        print(format_table(names, count=options.count))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
