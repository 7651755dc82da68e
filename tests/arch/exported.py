"""Exporting a model and running the result in every engine, for tests."""

from pathlib import Path
from typing import Optional

import numpy as np
import onnxruntime
import paddle
import paddle.inference
import paddle2onnx
from paddle import nn


def export(
    model: nn.Layer,
    folder: Path,
    image_shape: "tuple[int, int, int]",
    batch: Optional[int] = None,
) -> Path:
    """Writes `inference.json` and its weights, by default for any batch; the program's path."""
    model.eval()
    spec = paddle.static.InputSpec([batch, *image_shape], "float32")
    paddle.jit.save(model, str(folder / "inference"), input_spec=[spec])
    return folder / "inference.json"


def operators(program: Path) -> "set[str]":
    """Names of the operators of an exported program."""
    loaded = paddle.jit.load(str(program.with_suffix("")))
    return {op.name() for op in loaded.program().global_block().ops}


def run_paddle(program: Path, images: np.ndarray, onednn: bool) -> np.ndarray:
    config = paddle.inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_gpu()
    config.disable_glog_info()
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(images)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def run_onnx(program: Path, images: np.ndarray) -> np.ndarray:
    onnx_file = program.with_suffix(".onnx")
    if not onnx_file.exists():
        paddle2onnx.export(
            str(program),
            str(program.with_suffix(".pdiparams")),
            str(onnx_file),
            opset_version=17,
            optimize_tool=None,  # the default installs packages at run time
        )
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]
