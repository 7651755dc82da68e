"""List the models: input size, published top-1, licence and origin of their weights."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(arguments: argparse.Namespace) -> int:
    from ppcls.arch import list_models
    from ppcls.arch.listing import format_table
    from ppcls.errors import ConfigError

    names = list_models(arguments.pattern, paddleclas=arguments.paddleclas)
    if not names:
        raise ConfigError(f"no model matches '{arguments.pattern}'")
    print(format_table(names, count=arguments.count))
    return 0
