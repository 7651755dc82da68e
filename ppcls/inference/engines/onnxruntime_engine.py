"""ONNX Runtime."""

from pathlib import Path
from typing import Union

import numpy as np

from ppcls.errors import ConfigError
from ppcls.inference.model_dir import find_onnx


class OnnxRuntimeEngine:
    """Runs `inference.onnx`; safe to call from several threads."""

    name = "onnxruntime"

    def __init__(self, folder: Union[str, Path], device: str = "cpu", threads: int = 1):
        path = find_onnx(folder)
        try:
            import onnxruntime
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
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> (B, class_num) float32."""
        return self._session.run(None, {self._input: images})[0]
