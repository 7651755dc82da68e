"""Export a trained model for deployment, compared with the model before it is called done."""

import argparse
import os

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--format",
        action="append",
        choices=("pir", "legacy", "onnx"),
        help="inference.json (pir, default), inference.pdmodel (legacy), or inference.onnx beside "
        "either; repeatable",
    )
    parser.add_argument(
        "--output",
        choices=("prob", "logits"),
        default="prob",
        help="what the exported model returns (prob)",
    )
    parser.add_argument("--opset", type=int, default=13, help="ONNX operator set (13)")


def run(arguments: argparse.Namespace) -> int:
    formats = tuple(arguments.format or ("pir",))
    if "legacy" in formats:
        # Paddle reads it once, at its first import.
        os.environ["FLAGS_enable_pir_api"] = "0"
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.deployment import export
    from ppcls.utils.logger import init_logger

    init_logger()
    report = export(config, formats=formats, output=arguments.output, opset=arguments.opset)
    print("wrote:")
    for path in report.files:
        print(f"  {path} ({path.stat().st_size / 2**20:.2f} MiB)")
    return 0
