"""Draw what a trained model looks at: Grad-CAM, its two streams, attention, computed kernels."""

import argparse
from pathlib import Path

from ppcls.commands import add_config_arguments, positive_number, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "images", nargs="*", help="image files and folders (default: Infer.infer_imgs)"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the pictures (Global.output_dir/visualization)"
    )
    parser.add_argument(
        "--class_id", type=whole_number, help="explain this class, not the predicted one"
    )
    parser.add_argument(
        "--target_layer", metavar="NAME", help="sub-layer of Grad-CAM (the last feature map)"
    )
    parser.add_argument(
        "--limit",
        type=positive_number,
        default=8,
        help="so many images at most, spread over what is given (8)",
    )
    parser.add_argument(
        "--tile", type=positive_number, default=160, help="side of each picture in pixels (160)"
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config

    config = load_config(arguments.config, arguments.override)
    from ppcls.visualization.visualize import visualize

    written = visualize(
        config,
        arguments.images or None,
        arguments.output,
        arguments.class_id,
        arguments.target_layer,
        arguments.limit,
        arguments.tile,
    )
    for path, what in written.items():
        print(f"{path}: {what}")
    return 0
