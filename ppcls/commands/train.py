"""Train a model from a YAML configuration."""

import argparse

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "-p",
        "--profile",
        nargs="?",
        type=int,
        const=5,
        default=0,
        metavar="N",
        help="profile N iterations (default 5): a timeline and a table of operators, in the "
        "folder profile beside the checkpoints; training goes on",
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config
    from ppcls.utils.signals import Interrupted

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.trainer import Trainer

    try:
        Trainer(config, arguments.profile).fit()
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0
