"""OpenVINO, on CPUs."""

import threading
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import openvino

from ppcls.errors import ConfigError
from ppcls.inference.engines.fixed_batch import FixedBatch, joined
from ppcls.inference.engines.openvino_graph import convolve_maps, normalise_maps
from ppcls.inference.engines.pool import Pool
from ppcls.inference.model_dir import find_onnx
from ppcls.utils.processor import cpu_count

# Left to itself OpenVINO computes in bfloat16 wherever the processor can.
_COMPUTED_IN = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
# One for the process, for good. The CPU plugin of a Core sets the stack of signal handlers; when it
# goes, it brings back the one before, even if that one's Core has unmapped it since: the next
# signal, Ctrl-C say, is a segmentation fault then (2026.4).
CORE = openvino.Core()
# Images per run, besides one, of a file for any number of them: programs of known shapes are faster
# than one for any number, which for some models cannot be had in int8 (2026.4: TransXNet). Many at
# a time serve small images, whose operators take longer to start than to run.
_SOME, _MANY = 4, 16
# Each stream keeps memory of its own for what layers compute (28 MiB of DSNet_tiny at 224).
_MOST_STREAMS = 16


class OpenVinoEngine:
    """Runs `inference.onnx` (or its int8 variant); safe to call from several threads.

    Args:
        folder: the exported folder.
        device: "cpu".
        threads: CPU threads of one run.
        precision: "fp32"; "bf16" computes products in bfloat16, which only some processors can;
            "int8" runs the quantised file.

    Raises:
        ConfigError: the file or the precision is not available here.
    """

    name = "openvino"

    def __init__(
        self,
        folder: Union[str, Path],
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
    ):
        if device != "cpu":
            raise ConfigError(f"the engine 'openvino' runs on the device 'cpu', not on '{device}'")
        if precision not in _COMPUTED_IN:
            raise ConfigError(
                f"the engine 'openvino' has no precision '{precision}'; it has: "
                f"{', '.join(_COMPUTED_IN)}"
            )
        path = find_onnx(folder, precision)
        if precision == "bf16" and "BF16" not in CORE.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ConfigError("this processor cannot compute in bfloat16; use the precision 'fp32'")
        # A stream runs one call at a time; with a single one, calls of several threads would wait
        # for each other while other cores stand idle.
        self._streams = max(1, min(cpu_count() // threads, _MOST_STREAMS))
        self._settings = {
            "INFERENCE_PRECISION_HINT": _COMPUTED_IN[precision],
            "INFERENCE_NUM_THREADS": threads * self._streams,
            "NUM_STREAMS": self._streams,
            # A stream that is bound to a core waits for whatever else runs there: the longest of 30
            # runs took 16 ms instead of 8 on a busy machine, and no less on an idle one.
            "ENABLE_CPU_PINNING": False,
        }
        if precision == "int8":
            # With the code that it generates for attention OpenVINO 2026.4 ends the process while
            # it compiles some int8 files. Without it VOLO_D1 takes 12 % longer, DSNet_tiny 2-4 %.
            self._settings["SNIPPETS_MODE"] = "DISABLE"
        self._path = str(path)
        model = CORE.read_model(self._path)
        self._is_free = model.input(0).partial_shape[0].is_dynamic
        self._lock = threading.Lock()
        # By images per run; None: as the file says.
        size = 1 if self._is_free else None
        self._pools: dict[Optional[int], Pool] = {size: self._compile(model, size)}

    def run(self, images: np.ndarray) -> np.ndarray:
        """images: (B, C, H, W) float32 -> the first output, (B, class_num) float32."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> "list[np.ndarray]":
        """images: (B, C, H, W) float32 -> every output."""
        if self._is_free and len(images) not in (1, _SOME, _MANY):
            return self._run_in_parts(images)
        with self._requests(len(images)).lend() as request:
            # Without a copy of the images: they stay as they are until the call returns.
            outputs = request.infer([np.ascontiguousarray(images)], share_inputs=True)
            # They are the request's memory, which the next call overwrites.
            return [outputs[number].copy() for number in range(len(outputs))]

    def _run_in_parts(self, images: np.ndarray) -> "list[np.ndarray]":
        if len(images) < _MANY:
            return FixedBatch(self, _SOME if len(images) > 2 else 1).run_all(images)
        count = len(images) // _MANY * _MANY
        parts = [FixedBatch(self, _MANY).run_all(images[:count])]
        if count < len(images):
            parts.append(self.run_all(images[count:]))
        return joined(parts)

    def _requests(self, count: int) -> Pool:
        """Of the program for `count` images."""
        size = count if self._is_free else None
        with self._lock:
            if size not in self._pools:
                self._pools[size] = self._compile(CORE.read_model(self._path), size)
        return self._pools[size]

    def _compile(self, model: Any, size: Optional[int]) -> Pool:
        if size is not None:
            model.reshape([size, *list(model.input(0).partial_shape)[1:]])
        normalise_maps(model)
        convolve_maps(model)
        compiled = CORE.compile_model(model, "CPU", self._settings)
        # A request holds its input and output: one call at a time.
        return Pool(compiled.create_infer_request, size=self._streams)
