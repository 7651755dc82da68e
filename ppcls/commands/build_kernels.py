"""Compile the native operators for this machine and this build of Paddle.

They make position-wise aggregation (IDynamicDWNet, SAN) many times faster in training and in eager
evaluation; everything works without them. Needs g++, and nvcc for a GPU build of Paddle.
"""

import argparse
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show the compiler's output")


def run(arguments: argparse.Namespace) -> int:
    from ppcls.arch.layers import native

    library = native.library_path()
    if library.exists():
        print(f"already built: {library}")
        return 0
    print("compiling the native operators, about 20 seconds ...", flush=True)
    start = time.monotonic()
    native.build(verbose=arguments.verbose)
    print(f"built in {time.monotonic() - start:.0f} s: {library}")
    return 0
