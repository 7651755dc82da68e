"""An int8 ONNX file from one in float32: static, per channel, weighted layers only."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppcls.errors import ConfigError
from ppcls.inference.model_dir import data_file

CALIBRATIONS = ("minmax", "entropy", "percentile")
ENGINES = ("onnxruntime", "openvino")
_LAYERS = ["Conv", "MatMul", "Gemm"]


def quantize_onnx(
    source: Path, target: Path, samples: "Sequence[np.ndarray]", calibration: str, engine: str
) -> None:
    """Writes `target`: layers with weights take 8 bits, by ranges seen on `samples`.

    The two engines want different files. ONNX Runtime has int8 kernels for layers whose outputs
    have 8 bits too, in unbroken chains. OpenVINO's kernels give float32 just as fast, to an
    activation or the addition of a residual, so that one rounding less is faster and nearer to the
    model: DSNet_tiny 23 instead of 32 ms, logits off by 2.5 % of the largest instead of 18 %. And
    it gains little from depth-wise convolutions, which only memory limits, while rounding what goes
    into them takes TransXNet_T from 2.8 % to 16 % off. A convolution without a bias it gives to one
    reader as it should and to another before the scale is applied (2024.0 to 2026.4, without
    generated code, see `ppcls.inference.engines.openvino_engine`): it stays in float32.

    Args:
        source: the file in float32, its weights being initializers.
        samples: inputs (1, C, H, W) of the model.
        calibration: how ranges follow from activations, one of `CALIBRATIONS`.
        engine: what will run the file, one of `ENGINES`.

    Raises:
        ConfigError: ONNX Runtime's quantisation is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )
    except ImportError as error:
        raise ConfigError(
            f'quantisation needs {error.name}: pip install "logoclas[int8]"'
        ) from error
    graph = onnx.load(str(source), load_external_data=False).graph
    name = graph.input[0].name

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest: Iterator[np.ndarray] = iter(samples)

        def get_next(self) -> "Optional[dict[str, np.ndarray]]":
            sample = next(self._rest, None)
            return None if sample is None else {name: sample}

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    is_openvino = engine == "openvino"
    quantize_static(
        str(source),
        str(target),
        Samples(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_LAYERS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=methods[calibration],
        use_external_data_format=data_file(source).exists(),
        nodes_to_exclude=_layers_in_float32(graph, source.parent, is_openvino),
        extra_options={"OpTypesToExcludeOutputQuantization": _LAYERS if is_openvino else []},
    )


def _layers_in_float32(graph: Any, folder: Path, is_openvino: bool) -> "list[str]":
    """The names of layers that are not rounded.

    Products of activations (attention, computed kernels) lose the most; what OpenVINO does not
    round well, `quantize_onnx` tells.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.op_type)
    for output in graph.output:
        readers[output.name].append("output")

    def holds_only(name: str, *values: float) -> bool:
        tensor = numpy_helper.to_array(weights[name], base_dir=str(folder))
        return bool(np.isin(tensor, values).all())

    def is_in_float32(node: Any) -> bool:
        weight, *bias = node.input[1:]
        # A product with zeros and ones moves values, like those of computed kernels into band
        # matrices (`ppcls.arch.layers.dynamic_conv`).
        if weight not in weights or holds_only(weight, 0, 1):
            return True
        if not is_openvino or node.op_type != "Conv":
            return False
        # (out, in / groups, kernel...): a depth-wise one has one input channel per group.
        if weights[weight].dims[1] == 1:
            return True
        if any(name in weights and not holds_only(name, 0) for name in bias):
            return False
        # GELU reads twice, and rightly.
        return len(readers[node.output[0]]) > 1 and readers[node.output[0]] != ["Div", "Mul"]

    return [node.name for node in graph.node if node.op_type in _LAYERS and is_in_float32(node)]
