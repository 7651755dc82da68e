"""Make a folder that Paddle Serving serves from an exported one.

    python deploy/paddleserving/prepare.py --model_dir inference_legacy/ --output serving/

    serving/config.yml                          ports, batches, devices; for web_service.py
    serving/model/                              the exported files and serving_server_conf.prototxt
    serving/client/serving_client_conf.prototxt for clients of the C++ server
    serving/labels.txt                          `id name` a line

The export must hold the legacy program: tools/export_model.py --format legacy.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

# Paddle reads legacy programs as such only when told so before it is imported.
os.environ.setdefault("FLAGS_enable_pir_api", "0")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np
import yaml

from ppcls.errors import ConfigError, UserError
from ppcls.inference.model_dir import (
    DESCRIPTION,
    LEGACY_PROGRAM,
    PARAMS,
    Description,
    find_file,
)

#: What clients of the C++ server call the output, as in PaddleClas.
PREDICTION = "prediction"
_FLOAT32 = 1


def prepare(model_dir: Path, output: Path, name: str, settings: argparse.Namespace) -> None:
    """Writes the folder `output`.

    Raises:
        ConfigError: the export cannot be served by Paddle Serving.
    """
    description = Description.read(model_dir)
    program, params = find_file(model_dir, LEGACY_PROGRAM), find_file(model_dir, PARAMS)
    if program is None or params is None:
        raise ConfigError(
            f"{model_dir} holds no inference{LEGACY_PROGRAM}, which Paddle Serving needs; make it "
            "with tools/export_model.py --format legacy"
        )
    if description.output == "topk":
        raise ConfigError(
            f"{model_dir} gives classes instead of probabilities; export it with --output prob"
        )
    if description.batch_size not in (None, 1):
        raise ConfigError(
            f"{model_dir} takes batches of {description.batch_size} only; export it without a "
            "fixed batch size"
        )
    name = name or description.model_name
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"--name {name}: a service's name is letters, digits, '_', '.' and '-'")
    tensors = tensors_conf(program, params, description.image_shape)
    model = output / "model"
    model.mkdir(parents=True, exist_ok=True)
    for path in (program, params, model_dir / DESCRIPTION):
        shutil.copy2(path, model)
    (model / "serving_server_conf.prototxt").write_text(tensors)
    (output / "client").mkdir(exist_ok=True)
    (output / "client" / "serving_client_conf.prototxt").write_text(tensors)
    labels = "".join(f"{i} {text}\n" for i, text in sorted(description.label_names.items()))
    (output / "labels.txt").write_text(labels, encoding="utf-8")
    config = service_config(name, settings, description.batch_size)
    (output / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def tensors_conf(program: Path, params: Path, image_shape: "list[int]") -> str:
    """Names, types and shapes (without the batch) of the program's input and output."""
    import paddle.inference as paddle_infer

    config = paddle_infer.Config(str(program), str(params))
    config.disable_glog_info()
    predictor = paddle_infer.create_predictor(config)
    (feed,) = predictor.get_input_names()
    fetch = predictor.get_output_names()[0]
    predictor.get_input_handle(feed).copy_from_cpu(np.zeros((1, *image_shape), np.float32))
    predictor.run()
    classes = predictor.get_output_handle(fetch).shape()[-1]
    # Paddle Serving's predictor looks an input up by its alias, which is its name therefore.
    lines = ["feed_var {", f'  name: "{feed}"', f'  alias_name: "{feed}"', "  is_lod_tensor: false"]
    lines += [f"  feed_type: {_FLOAT32}", *(f"  shape: {size}" for size in image_shape), "}"]
    lines += ["fetch_var {", f'  name: "{fetch}"', f'  alias_name: "{PREDICTION}"']
    lines += ["  is_lod_tensor: false", f"  fetch_type: {_FLOAT32}", f"  shape: {classes}", "}"]
    return "\n".join(lines) + "\n"


def service_config(
    name: str, settings: argparse.Namespace, batch_size: "int | None"
) -> "dict[str, Any]":
    """`config.yml`; Paddle Serving's own keys."""
    on_gpu = settings.device == "gpu"
    merged = 1 if batch_size else settings.batch_size
    return {
        "http_port": settings.http_port,
        "rpc_port": settings.rpc_port,
        # Requests at a time.
        "worker_num": settings.workers,
        # Processes instead of threads: threads would share one predictor, which mixes answers up.
        "dag": {"is_thread_op": False, "retry": 1},
        "op": {
            name: {
                "concurrency": settings.processes,
                "batch_size": merged,
                # Milliseconds in which requests are collected for one run.
                "auto_batching_timeout": settings.batch_delay_ms if merged > 1 else -1,
                "local_service_conf": {
                    "client_type": "local_predictor",
                    "model_config": "model",
                    "fetch_list": [PREDICTION],
                    "device_type": 1 if on_gpu else 0,
                    "devices": settings.devices if on_gpu else "",
                    "thread_num": settings.threads,
                    "use_mkldnn": not on_gpu,
                    "ir_optim": True,
                    "mem_optim": True,
                },
            }
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model_dir", type=Path, required=True, help="exported folder with inference.pdmodel")
    add("--output", type=Path, required=True, help="folder to write")
    add("--name", default="", help="of the service (the model's)")
    add("--http_port", type=int, default=18080)
    add("--rpc_port", type=int, default=9993)
    add("--device", choices=("cpu", "gpu"), default="cpu")
    add("--devices", default="0", help="numbers of GPUs, one process each at least (0)")
    add("--processes", type=int, default=1, help="that decode and predict (1)")
    add("--threads", type=int, default=1, help="CPU threads of one run (1)")
    add("--workers", type=int, default=16, help="requests at a time (16)")
    add("--batch_size", type=int, default=1, help="requests merged into one run (1)")
    add("--batch_delay_ms", type=int, default=5, help="how long to collect them (5)")
    arguments = parser.parse_args()
    try:
        prepare(arguments.model_dir, arguments.output, arguments.name, arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"python deploy/paddleserving/web_service.py {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
