"""Export a trained model for deployment, compared with the model before it is called done."""

import argparse
import os

from ppcls.commands import add_config_arguments
from ppcls.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--format",
        action="append",
        choices=("pir", "legacy", "onnx", "onnx_fp16"),
        help="inference.json (pir, default), inference.pdmodel (legacy), inference.onnx beside "
        "either, or inference_fp16.onnx beside that; repeatable",
    )
    parser.add_argument(
        "--output",
        choices=("prob", "logits", "topk"),
        default="prob",
        help="what the exported model returns (prob); topk: scores and classes of the best "
        "Infer.PostProcess.topk",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="fix the batch size (default: any size)"
    )
    parser.add_argument(
        "--no-fold", action="store_true", help="export the layers as they were trained"
    )
    parser.add_argument("--opset", type=int, default=13, help="ONNX operator set (13)")
    parser.add_argument(
        "--no-simplify",
        action="store_true",
        help="leave the ONNX file as converted, also where onnxslim is installed",
    )


def run(arguments: argparse.Namespace) -> int:
    formats = tuple(arguments.format or ("pir",))
    if arguments.batch is not None and arguments.batch < 1:
        raise ConfigError(f"--batch {arguments.batch}: expected a number of images, 1 or more")
    if "legacy" in formats:
        # Paddle reads it once, at its first import.
        os.environ["FLAGS_enable_pir_api"] = "0"
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.deployment import export
    from ppcls.utils.logger import init_logger

    init_logger()
    report = export(
        config,
        formats=formats,
        output=arguments.output,
        opset=arguments.opset,
        batch_size=arguments.batch,
        fold=not arguments.no_fold,
        simplify=not arguments.no_simplify,
    )
    print("wrote:")
    for path in report.files:
        print(f"  {path} ({path.stat().st_size / 2**20:.2f} MiB)")
    return 0
