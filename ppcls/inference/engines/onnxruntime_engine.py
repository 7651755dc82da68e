"""ONNX Runtime."""

from pathlib import Path
from typing import Union

import numpy as np

from ppcls.errors import ConfigError
from ppcls.inference.model_dir import find_onnx

PRECISIONS = ("fp32", "fp16", "int8")


class OnnxRuntimeEngine:
    """Runs `inference.onnx`, or its fp16 or int8 variant; safe to call from several threads.

    Args:
        folder: the exported folder.
        device: "cpu" or "gpu".
        threads: CPU threads of one run.
        precision: "fp32", "fp16" or "int8": which of the files.

    Raises:
        ConfigError: the file, the package, CUDA or the precision is not available here.
    """

    name = "onnxruntime"

    def __init__(
        self,
        folder: Union[str, Path],
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
    ):
        if precision not in PRECISIONS:
            raise ConfigError(
                f"the engine 'onnxruntime' has no precision '{precision}'; it has: "
                f"{', '.join(PRECISIONS)}"
            )
        path = find_onnx(folder, precision)
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as states
        except ImportError as error:
            raise ConfigError(
                "the engine 'onnxruntime' needs ONNX Runtime: pip install \"logoclas[onnx]\""
            ) from error
        providers = ["CPUExecutionProvider"]
        if device == "gpu":
            providers.insert(0, "CUDAExecutionProvider")
            if providers[0] not in onnxruntime.get_available_providers():
                raise ConfigError(
                    "this installation of ONNX Runtime has no CUDA: pip install onnxruntime-gpu, "
                    "or predict with device 'cpu'"
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Below errors it lists every constant that its own optimiser drops.
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except (
            states.Fail,
            states.InvalidGraph,
            states.InvalidProtobuf,
            states.NotImplemented,
            states.RuntimeException,
        ) as error:
            raise ConfigError(f"ONNX Runtime cannot run {path}: {error}") from error
        self._input = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> the first output, (B, class_num) float32."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        return self._session.run(None, {self._input: images})
