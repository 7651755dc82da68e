"""Train a model from a YAML configuration."""

import argparse

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config
    from ppcls.utils.signals import Interrupted

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.trainer import Trainer

    try:
        Trainer(config).fit()
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0
