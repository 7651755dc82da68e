"""Quantise an exported model to 8 bits; accuracy and speed are measured beside float32."""

import argparse
from pathlib import Path

from ppcls.commands import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--model_dir",
        type=Path,
        required=True,
        help="the folder that tools/export_model.py --format onnx wrote; receives the file",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "onnxruntime", "openvino"),
        default="auto",
        help="what the file is made for, and runs both models for the comparison (auto: openvino "
        "where it is installed, which gains more)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=128,
        help="images of DataLoader.Train for calibration (128)",
    )
    parser.add_argument(
        "--calibration",
        choices=("minmax", "entropy", "percentile"),
        default="minmax",
        help="how ranges follow from activations (minmax)",
    )
    parser.add_argument(
        "--max_drop",
        type=float,
        default=0.01,
        help="largest loss of the first metric that is accepted (0.01)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of one run (1)")


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config
    from ppcls.utils.logger import init_logger

    init_logger()
    config = load_config(arguments.config, arguments.override)
    from ppcls.engine.quantization import quantize

    report = quantize(
        config,
        arguments.model_dir,
        engine=arguments.engine,
        images=arguments.images,
        calibration=arguments.calibration,
        max_drop=arguments.max_drop,
        threads=arguments.threads,
    )
    print("            " + "  ".join(f"{name:>10}" for name in report.fp32))
    for title, results in (("fp32", report.fp32), ("int8", report.int8)):
        print(f"{title:12}" + "  ".join(f"{value:10.5f}" for value in results.values()))
    for batch, milliseconds in report.fp32_ms.items():
        print(
            f"batch {batch}: fp32 {milliseconds:.2f} ms, int8 {report.int8_ms[batch]:.2f} ms per "
            f"image ({report.engine})"
        )
    print(f"file: {report.fp32_bytes / 2**20:.2f} MiB -> {report.int8_bytes / 2**20:.2f} MiB")
    print(report.verdict)
    return 0
