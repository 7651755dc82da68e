"""Evaluate a trained or an exported model on the images of DataLoader.Eval."""

import argparse
from pathlib import Path

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--model_dir",
        type=Path,
        help="evaluate this exported folder, with its own preprocessing, instead of a checkpoint",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help="what runs the exported folder: auto (default), paddle, onnxruntime or openvino",
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        help="of the exported folder: fp32 (default), bf16, fp16 or int8",
    )
    parser.add_argument(
        "--flip", action="store_true", help="average over each image and its mirror image"
    )
    parser.add_argument(
        "--crops",
        type=int,
        choices=(5, 10),
        default=1,
        help="average over the corners and the centre of each image (5), and their mirror images "
        "(10)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write accuracy by class, confusion matrix, calibration, every prediction, the most "
        "wrong and the slowest images there",
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.evaluation import evaluate

    evaluate(
        config,
        arguments.model_dir,
        arguments.engine,
        arguments.flip,
        arguments.report,
        arguments.precision,
        arguments.crops,
    )
    return 0
