"""Predict images with a trained model (for an exported one: deploy/python/predict_cls.py)."""

import argparse
import json

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.deployment import infer
    from ppcls.utils.logger import init_logger

    init_logger()
    results = infer(config)
    for result in results:
        print(json.dumps(result, ensure_ascii=False))
    failed = sum("error" in result for result in results)
    print(f"predicted {len(results) - failed} of {len(results)} images")
    return 1 if failed else 0
