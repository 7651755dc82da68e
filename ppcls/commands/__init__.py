"""The commands: one module each with `add_arguments(parser)` and `run(arguments)`.

`tools/<name>.py` and the console command `ppcls` both call `main`. A command's module imports only
the standard library at its top, so that `--help` answers at once.
"""

import argparse
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Optional

from ppcls.errors import UserError
from ppcls.utils.cpu import choose_libraries

#: Name of each command -> its module here.
COMMANDS = {
    "train": "train",
    "eval": "eval",
    "visualize": "visualize",
    "infer": "infer",
    "export": "export_model",
    "predict": "predict",
    "serve": "serve",
    "check-config": "check_config",
    "list-models": "list_models",
    "convert-weights": "convert_weights",
    "build-kernels": "build_kernels",
    "prepare-dataset": "prepare_dataset",
    "check-dataset": "check_dataset",
    "benchmark-loader": "benchmark_loader",
    "benchmark": "benchmark",
    "quantize": "quantize",
    "quickstart": "quickstart",
}


def main(
    command: str, arguments: Optional[Sequence[str]] = None, program: Optional[str] = None
) -> int:
    """Runs one command and returns its exit code.

    A `UserError` or an error of the operating system is printed as a sentence, without a traceback
    unless `--debug` is given or `PPCLS_DEBUG` is set.
    """
    module = importlib.import_module(f"ppcls.commands.{COMMANDS[command]}")
    parser = argparse.ArgumentParser(prog=program, description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks of user errors")
    parsed = parser.parse_args(arguments)
    choose_libraries()
    # Paddle says so at every import; it concerns only those who compile operators all day.
    warnings.filterwarnings("ignore", message="No ccache found")
    debug = parsed.debug or bool(os.environ.get("PPCLS_DEBUG"))
    try:
        return module.run(parsed) or 0
    except (UserError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        if debug:
            traceback.print_exc()
        print(f"error: memory ran out; use smaller batches or images ({error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def console() -> None:
    """Entry point of the console command `ppcls COMMAND ...`."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        from ppcls import __version__

        print(__version__)
        sys.exit(0)
    if not arguments or arguments[0] not in COMMANDS:
        wants_help = arguments[:1] in (["-h"], ["--help"])
        print(f"usage: ppcls {{{','.join(COMMANDS)}}} ...   (each has --help)")
        sys.exit(0 if wants_help else 2)
    sys.exit(main(arguments[0], arguments[1:], program=f"ppcls {arguments[0]}"))


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """`-c` and `-o`, as every command that takes a configuration has them."""
    parser.add_argument("-c", "--config", required=True, help="YAML configuration")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="override a value, e.g. -o Global.epochs=10; repeatable",
    )


def whole_number(text: str) -> int:
    """The type of arguments that count something."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, received {text}")
    return int(text)


def positive_number(text: str) -> int:
    """The type of arguments that count something of which there must be one."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, received {text}")
    return int(text)
