"""Convert published weights to .pdparams or .safetensors, without running code from the file."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a registered name, e.g. VOLO_D1")
    parser.add_argument(
        "--source", required=True, help=".pth, .pth.tar, .pdparams or .safetensors of the authors"
    )
    parser.add_argument("--output", required=True, help="file to write: .pdparams or .safetensors")
    parser.add_argument("--ema", action="store_true", help="convert the averaged copy in the file")
    parser.add_argument(
        "--check",
        action="store_true",
        help="run the model on a fixed image and compare the written file's logits",
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the model, e.g. -o class_num=10 -o img_size=384; repeatable",
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.arch.weight_conversion import convert_weights
    from ppcls.config.override import apply_overrides
    from ppcls.config.schema import Faults, check_component
    from ppcls.errors import ConfigError

    config = apply_overrides(
        {"Arch": {"name": arguments.model}}, [f"Arch.{text}" for text in arguments.override]
    )
    faults = Faults()
    spec = check_component("arch", config["Arch"], "Arch", faults)
    if faults.messages:
        raise ConfigError("\n".join(faults.messages))
    certificate = convert_weights(
        spec,
        arguments.source,
        arguments.output,
        ema=arguments.ema,
        check=arguments.check,
        image_size=spec.get("img_size", 224),
    )
    print(certificate)
    return 0
