"""Paddle Inference, with oneDNN on CPUs."""

import threading
from pathlib import Path
from typing import Any, Union

import numpy as np
import paddle.inference as paddle_infer

from ppcls.errors import ConfigError
from ppcls.inference.model_dir import LEGACY_PROGRAM, find_program
from ppcls.utils.logger import logger


class PaddleEngine:
    """Runs `inference.json` (or `.pdmodel`) with its `.pdiparams`.

    On CPUs it uses oneDNN, several times faster than without. Programs with an interpolation do not
    run under oneDNN on Paddle 3.3: such a program is recognised by a trial run at the first batch
    and runs without oneDNN from then on.
    """

    name = "paddle"

    def __init__(
        self,
        folder: Union[str, Path],
        device: str = "cpu",
        threads: int = 1,
        use_onednn: bool = True,
    ):
        self._program, self._params = find_program(folder)
        self._device = device
        self._threads = threads
        self._use_onednn = use_onednn and device == "cpu"
        self._is_proven = not self._use_onednn
        # A predictor holds its input and output: one call at a time.
        self._lock = threading.Lock()
        self._predictor = self._create()

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> (B, class_num) float32."""
        with self._lock:
            if self._is_proven:
                return self._run(images)
            try:
                result = self._run(images)
            except (NotImplementedError, RuntimeError) as error:
                logger.warning(
                    "Paddle Inference cannot run this program with oneDNN on this version, going "
                    f"on without (slower): {str(error).strip().splitlines()[-1]}"
                )
                self._use_onednn = False
                self._predictor = self._create()
                result = self._run(images)
            self._is_proven = True
            return result

    def _run(self, images: np.ndarray) -> np.ndarray:
        input_handle = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        input_handle.copy_from_cpu(np.ascontiguousarray(images))
        self._predictor.run()
        output_names = self._predictor.get_output_names()
        return self._predictor.get_output_handle(output_names[0]).copy_to_cpu()

    def _create(self) -> Any:
        config = paddle_infer.Config(str(self._program), str(self._params))
        config.disable_glog_info()
        if self._device == "gpu":
            config.enable_use_gpu(256, 0)
            if not config.use_gpu():
                raise ConfigError(
                    "this installation of Paddle has no CUDA; predict with device 'cpu'"
                )
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(self._threads)
            if self._use_onednn:
                config.enable_mkldnn()
            else:
                config.disable_mkldnn()
        if self._program.suffix != LEGACY_PROGRAM:
            # The memory pass of new-format programs fails without the new executor.
            config.enable_new_ir(True)
            config.enable_new_executor(True)
        config.enable_memory_optim()
        return paddle_infer.create_predictor(config)
