"""Write the image files and lists that datasets read, and the YAML that names them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls.commands import whole_number
from ppcls.utils.processor import cpu_count

if TYPE_CHECKING:
    from ppcls.data.prepare import ListOptions, Prepared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_subparsers(dest="source", required=True)
    folder = sources.add_parser(
        "folder", help="a folder that holds a folder of images per class, split or not"
    )
    folder.add_argument("root", type=Path)
    _add_list_arguments(folder)

    table = sources.add_parser("csv", help="a CSV table: an image a row, one or several labels")
    table.add_argument("table", type=Path)
    table.add_argument("--image-root", type=Path, help="of the image names (the table's folder)")
    table.add_argument("--image-column", help="column of image names (the first)")
    table.add_argument(
        "--label-column",
        action="append",
        default=[],
        help="a column of texts, or several of 0 and 1 (all other columns); repeatable",
    )
    table.add_argument("--part-column", help="column that says train, val or test")
    table.add_argument("--suffix", default="", help="appended to image names, e.g. .jpg")
    table.add_argument("--separator", default="|", help="between the labels of a text (|)")
    table.add_argument(
        "--multi-label", action="store_true", help="even if no row has more than one label"
    )
    _add_list_arguments(table)

    idx = sources.add_parser("idx", help="a folder with the IDX files of MNIST or its like")
    idx.add_argument("root", type=Path)
    idx.add_argument("--output", type=Path, help="write PNG files and lists here")
    idx.add_argument("--prefix", default="", help="how the names of the set's files begin")
    idx.add_argument(
        "--val-fraction",
        type=_share,
        default=0.0,
        help="with --output: take validation from training, keep the test files for the test",
    )
    idx.add_argument("--seed", type=whole_number, default=0, help="of the split (0)")
    idx.add_argument("--force", action="store_true", help="replace lists that exist")

    digits = sources.add_parser("digits", help="the handwritten digits of scikit-learn")
    digits.add_argument("--output", type=Path, default=Path("dataset/digits"))
    digits.add_argument("--force", action="store_true", help="replace lists that exist")


def _add_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="folder of the lists (that of the images)")
    parser.add_argument("--val-fraction", type=_share, default=0.2, help="for validation (0.2)")
    parser.add_argument("--test-fraction", type=_share, default=0.0, help="for the test (0)")
    parser.add_argument("--seed", type=whole_number, default=0, help="of the split (0)")
    parser.add_argument("--force", action="store_true", help="replace lists that exist")
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not decode the images; unreadable ones and copies are listed like any other",
    )
    parser.add_argument("--keep-duplicates", action="store_true", help="list identical images, too")
    parser.add_argument(
        "--jobs", type=whole_number, help="worker processes that decode (one per CPU)"
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, received {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    print_any_name()
    prepared = _prepare(arguments)
    print("\n\n".join(filter(None, [prepared.describe_losses(), prepared.describe_classes()])))
    print(f"\n{'Wrote' if prepared.files else 'Found'} {prepared}")
    print(f"\nTo use it, write this into your YAML:\n\n{prepared.yaml_lines()}", end="")
    return 0


def _prepare(arguments: argparse.Namespace) -> "Prepared":
    from ppcls.data import prepare
    from ppcls.inference.postprocess import read_label_names

    if arguments.source == "digits":
        return prepare.prepare_digits(arguments.output, arguments.force)
    if arguments.source == "idx":
        options = prepare.ListOptions(
            output=arguments.output,
            val_fraction=arguments.val_fraction,
            seed=arguments.seed,
            overwrite=arguments.force,
            check=False,
        )
        label_map = arguments.root / "label_list.txt"
        if not label_map.is_file():
            return prepare.prepare_idx(arguments.root, options, arguments.prefix)
        names = read_label_names(label_map)
        return prepare.prepare_idx(arguments.root, options, arguments.prefix, label_map, names)
    options = _list_options(arguments)
    if arguments.source == "folder":
        return prepare.prepare_folder(arguments.root, options)
    table_options = prepare.CsvOptions(
        arguments.image_root,
        arguments.image_column,
        tuple(arguments.label_column),
        arguments.part_column,
        arguments.suffix,
        arguments.separator,
        arguments.multi_label,
    )
    return prepare.prepare_csv(arguments.table, table_options, options)


def _list_options(arguments: argparse.Namespace) -> "ListOptions":
    from ppcls.data.prepare import ListOptions
    from ppcls.errors import DataError

    if arguments.val_fraction + arguments.test_fraction >= 1:
        raise DataError("--val-fraction and --test-fraction leave nothing to train on")
    return ListOptions(
        output=arguments.output,
        val_fraction=arguments.val_fraction,
        test_fraction=arguments.test_fraction,
        seed=arguments.seed,
        overwrite=arguments.force,
        check=not arguments.no_check,
        keep_duplicates=arguments.keep_duplicates,
        jobs=cpu_count() if arguments.jobs is None else arguments.jobs,
    )


def print_any_name() -> None:
    """Lets names that are not UTF-8, or not in the terminal's encoding, be printed."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
