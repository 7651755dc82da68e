"""Write the image files and lists that datasets read."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_subparsers(dest="source", required=True)
    digits = sources.add_parser("digits", help="the handwritten digits of scikit-learn")
    digits.add_argument("--output", type=Path, default=Path("dataset/digits"))
    folder = sources.add_parser("folder", help="a folder that holds a folder of images per class")
    folder.add_argument("root", type=Path)
    folder.add_argument("--val-ratio", type=_share, default=0.2, help="part held out (0.2)")
    folder.add_argument("--seed", type=int, default=0, help="of the split (0)")
    folder.add_argument("--overwrite", action="store_true", help="replace existing lists")


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, received {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    from ppcls.data.prepare import prepare_digits, prepare_folder

    if arguments.source == "digits":
        lists = prepare_digits(arguments.output)
    else:
        lists = prepare_folder(
            arguments.root, arguments.val_ratio, arguments.seed, arguments.overwrite
        )
    print(f"Wrote {lists}")
    return 0
