"""Evaluate a model on the images of DataLoader.Eval."""

import argparse

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.deployment import evaluate

    evaluate(config)
    return 0
