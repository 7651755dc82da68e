"""Paddle Inference, with oneDNN on CPUs."""

import threading
from pathlib import Path
from typing import Any, Union

import numpy as np
import paddle.inference as paddle_infer

from ppcls.errors import ConfigError
from ppcls.inference.engines.pool import Pool
from ppcls.inference.model_dir import LEGACY_PROGRAM, find_program
from ppcls.utils.logger import logger
from ppcls.utils.processor import cpu_count

_ONEDNN, _FUSED_ONEDNN, _NO_ONEDNN = "oneDNN", "oneDNN's fused operators only", "no oneDNN"
#: From the fastest to the one that can run most.
_ONEDNN_USES = (_ONEDNN, _FUSED_ONEDNN, _NO_ONEDNN)


class PaddleEngine:
    """Runs `inference.json` (or `.pdmodel`) with its `.pdiparams`; several threads may call it.

    On CPUs it uses oneDNN, several times faster than without. Programs with an interpolation do not
    run under oneDNN on Paddle 3.3: such a program is recognised by a trial run at the first batch.
    From then on oneDNN runs only what is fused into its own operators (convolutions and products
    with what follows them), and if that fails too, nothing.
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
        self._uses = _ONEDNN_USES if use_onednn and device == "cpu" else (_NO_ONEDNN,)
        self._is_proven = len(self._uses) == 1
        self._lock = threading.Lock()
        self._open()

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> the first output, (B, class_num) float32."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        if not self._is_proven:
            with self._lock:
                if not self._is_proven:
                    self._prove(images)
        with self._predictors.lend() as predictor:
            return _run(predictor, images)

    def _open(self) -> None:
        """A predictor and room for clones of it, which share its weights.

        Each holds its input and output, and so serves one call at a time.
        """
        first = self._create()
        unused = [first]
        self._predictors = Pool(lambda: unused.pop() if unused else first.clone(), size=cpu_count())

    def _prove(self, images: np.ndarray) -> None:
        """Falls back to the next use of oneDNN as long as this one fails; the last one may."""
        while len(self._uses) > 1:
            try:
                with self._predictors.lend() as predictor:
                    _run(predictor, images)
                break
            except (NotImplementedError, RuntimeError) as error:
                self._uses = self._uses[1:]
                logger.warning(
                    "Paddle Inference cannot run this program so on this version, going on with "
                    f"{self._uses[0]} (slower): {str(error).strip().splitlines()[-1]}"
                )
                self._open()
        self._is_proven = True

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
            if self._uses[0] == _NO_ONEDNN:
                config.disable_mkldnn()
            else:
                config.enable_mkldnn()
            if self._uses[0] == _FUSED_ONEDNN:
                # It makes oneDNN's operators of those that nothing is fused with.
                config.delete_pass("onednn_placement_pass")
        if self._program.suffix != LEGACY_PROGRAM:
            # The memory pass of new-format programs fails without the new executor.
            config.enable_new_ir(True)
            config.enable_new_executor(True)
        config.enable_memory_optim()
        return paddle_infer.create_predictor(config)


def _run(predictor: Any, images: np.ndarray) -> "list[np.ndarray]":
    input_handle = predictor.get_input_handle(predictor.get_input_names()[0])
    input_handle.copy_from_cpu(np.ascontiguousarray(images))
    predictor.run()
    names = predictor.get_output_names()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in names]
