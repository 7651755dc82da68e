"""Compile the native code for this machine and this build of Paddle.

Image resizing (Pillow's, to the bit) becomes several times faster, and so does position-wise
aggregation (IDynamicDWNet, SAN) in training and in eager evaluation; everything works without.
Needs g++, and nvcc for a GPU build of Paddle.
"""

import argparse
import importlib.util
import time
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show the compiler's output")


def run(arguments: argparse.Namespace) -> int:
    from ppcls.data.transform import native as resampling

    _build("image resizing", "3 seconds", resampling, arguments.verbose)
    if importlib.util.find_spec("paddle") is None:
        print("Paddle is not installed: its operators are left out")
        return 0
    from ppcls.arch.layers import native as operators

    _build("the operators of Paddle", "20 seconds", operators, arguments.verbose)
    return 0


def _build(what: str, duration: str, native: Any, verbose: bool) -> None:
    library = native.library_path()
    if library.exists():
        print(f"already built: {library}")
        return
    print(f"compiling {what}, about {duration} ...", flush=True)
    start = time.monotonic()
    native.build(verbose=verbose)
    print(f"built in {time.monotonic() - start:.0f} s: {library}")
