"""Predict images with an exported .onnx file alone.

Needs onnxruntime, NumPy, OpenCV and Pillow; neither Paddle nor the rest of the exported folder:
preprocessing and names of classes stand in the file's metadata. Prints a JSON line per image.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from ppcls.errors import UserError
from ppcls.inference.predictor import PredictionPipeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="inference.onnx, inference_fp16.onnx or inference_int8.onnx")
    parser.add_argument("images", nargs="+", help="images, or folders of images")
    parser.add_argument("--batch", type=int, default=1, help="images per run (1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of one run (1)")
    parser.add_argument("--topk", type=int, help="classes per image (default: as exported)")
    arguments = parser.parse_args()
    pipeline = open_model(arguments.model, arguments.batch, arguments.threads, arguments.topk)
    failed = 0
    for result in pipeline.predict_iter(arguments.images):
        print(json.dumps(result, ensure_ascii=False), flush=True)
        failed += "error" in result
    return 1 if failed else 0


def open_model(path: str, batch_size: int, threads: int, topk: "int | None") -> PredictionPipeline:
    """What the file's metadata describes, run by ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    metadata = read_metadata(session)
    if metadata["output"] == "topk":
        raise UserError(f"{path} gives the best classes only; export it with --output prob")
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {name: images})[0]

    postprocess = dict(metadata["postprocess"])
    if topk is not None:
        postprocess = {"name": "Topk", "topk": topk}
    return PredictionPipeline(
        run,
        metadata["preprocess"],
        postprocess,
        metadata["output"],
        {int(number): label for number, label in metadata["labels"].items()},
        batch_size,
        metadata["activation"],
    )


def read_metadata(session: onnxruntime.InferenceSession) -> "dict[str, Any]":
    """The values that tools/export_model.py wrote into the file."""
    entries = session.get_modelmeta().custom_metadata_map
    if "preprocess" not in entries:
        raise UserError(
            "the file does not say how to prepare images; make it with tools/export_model.py"
        )
    keys = ("preprocess", "postprocess", "output", "activation", "labels")
    return {key: json.loads(entries[key]) for key in keys}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
