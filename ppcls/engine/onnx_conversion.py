"""From a Paddle program to an ONNX model in memory, of any size."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls.errors import ExportError
from ppcls.inference.model_dir import LEGACY_PROGRAM, PARAMS

#: Bytes of weights in one file. A file of protobuf holds at most 2 GiB, of which the graph needs
#: some.
LARGEST_FILE = 2**31 - 2**26
# Weights of at least so many bytes are converted apart.
_LARGE_TENSOR = 2**16
_INPUT_SUFFIX = "@weight"
# Operators with attributes that became float64 in Paddle 3.3. paddle2onnx 2.1 looks for float32
# and, finding none, writes what its memory holds: GroupNorm with an epsilon of 1e20, say.
_FLOAT64_OPS = {"group_norm", "leaky_relu", "logit", "pad3d", "softplus"}


def convert(program: Path, opset: int) -> Any:
    """Converts a program, with the weights beside it, through paddle2onnx.

    Of more weights than fit into a file of protobuf paddle2onnx writes an empty file. They are
    made inputs of the program, and constants again after the conversion.

    Raises:
        ExportError: it cannot be converted.
    """
    params = program.with_suffix(PARAMS)
    if params.stat().st_size <= LARGEST_FILE:
        return _run_paddle2onnx(program, params, opset)
    if program.suffix == LEGACY_PROGRAM:
        raise ExportError(
            f"the weights of {program.name} are larger than 2 GiB, and those of a legacy program "
            "are converted to ONNX up to 2 GiB only: export with --format pir --format onnx"
        )
    with tempfile.TemporaryDirectory(prefix=".onnx.", dir=program.parent) as scratch:
        light, weights = _take_weights_out(program, Path(scratch))
        model = _run_paddle2onnx(light, light.with_suffix(PARAMS), opset)
    _put_weights_in(model.graph, weights)
    return model


def _run_paddle2onnx(program: Path, params: Path, opset: int) -> Any:
    import onnx
    import paddle2onnx

    with tempfile.TemporaryDirectory(prefix=".onnx.", dir=program.parent) as scratch:
        path = Path(scratch) / "converted.onnx"
        # optimize_tool: its default installs packages at run time.
        paddle2onnx.export(
            str(_with_float32_attributes(program, Path(scratch))),
            str(params) if params.exists() else "",
            str(path),
            opset_version=opset,
            optimize_tool=None,
            verbose=False,
        )
        if not path.exists() or path.stat().st_size == 0:
            raise ExportError(
                f"paddle2onnx did not convert {program.name}; its own messages above say which "
                "operator it cannot convert"
            )
        return onnx.load(str(path))


def _with_float32_attributes(program: Path, folder: Path) -> Path:
    """The program, written to `folder`, with the attributes of `_FLOAT64_OPS` in float32."""
    if program.suffix == LEGACY_PROGRAM:
        return program

    def shorten(entry: "dict[str, Any]") -> "dict[str, Any]":
        _, _, name = entry.get("#", "").partition(".")
        if name in _FLOAT64_OPS:
            for attribute in entry["A"]:
                value = attribute["AT"]
                value["#"] = value["#"].replace("a_f64", "a_f32")
        return entry

    shortened = folder / program.name
    content = json.loads(program.read_text(encoding="utf-8"), object_hook=shorten)
    shortened.write_text(json.dumps(content), encoding="utf-8")
    return shortened


def _take_weights_out(program: Path, folder: Path) -> "tuple[Path, dict[str, np.ndarray]]":
    """The program, written to `folder`, with large weights as inputs; and these by input name."""
    weights = {}
    with _static_mode():
        executor = paddle.static.Executor(paddle.CPUPlace())
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            edited, names, outputs = paddle.static.load_inference_model(
                str(program.with_suffix("")), executor
            )
            block = edited.global_block()
            inputs = {op.attrs()["name"]: op.result(0) for op in block.ops if _is_input(op)}
            feeds = [inputs[name] for name in names]
            for op in list(block.ops):
                if op.name() != "builtin.parameter":
                    continue
                name = op.attrs()["parameter_name"]
                array = np.array(scope.find_var(name).get_tensor())
                if array.nbytes < _LARGE_TENSOR:
                    continue
                weights[name + _INPUT_SUFFIX] = array
                old = op.result(0)
                with paddle.static.program_guard(edited):
                    paddle.pir.set_insertion_point(op)
                    new = paddle.static.data(name + _INPUT_SUFFIX, old.shape, old.dtype)
                old.replace_all_uses_with(new)
                block.remove_op(op)
                scope.erase([name])
                feeds.append(new)
            light = folder / program.name
            paddle.static.save_inference_model(
                str(light.with_suffix("")), feeds, outputs, executor, program=edited
            )
    return light, weights


def _is_input(op: Any) -> bool:
    return op.name() == "pd_op.data"


def _put_weights_in(graph: Any, weights: "dict[str, np.ndarray]") -> None:
    import onnx

    kept = [entry for entry in graph.input if entry.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    for name in list(weights):
        graph.initializer.append(onnx.numpy_helper.from_array(weights.pop(name), name))


@contextlib.contextmanager
def _static_mode() -> "Iterator[None]":
    was_dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if was_dynamic:
            paddle.disable_static()
