"""Check YAML configurations without data and without training: one OK or FAIL line each."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", required=True, nargs="+", action="extend", help="YAML configurations"
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config
    from ppcls.errors import ConfigError

    failed = 0
    for path in arguments.config:
        try:
            load_config(path)
        except ConfigError as error:
            failed += 1
            print(f"FAIL {error}")
        else:
            print(f"OK   {path}")
    print(f"{len(arguments.config) - failed} of {len(arguments.config)} configurations are valid")
    return 1 if failed else 0
