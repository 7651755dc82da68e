"""Engines: each runs (B, C, H, W) float32 arrays through an exported model."""

from pathlib import Path
from typing import Any, Union

from ppcls.errors import ConfigError, did_you_mean
from ppcls.inference.model_dir import ONNX, find_file

ENGINES = ("paddle", "onnxruntime")


def create_engine(
    folder: Union[str, Path],
    engine: str = "auto",
    device: str = "cpu",
    threads: int = 1,
    use_onednn: bool = True,
) -> Any:
    """The engine called `engine` on the model in `folder`.

    Args:
        engine: "paddle", "onnxruntime", or "auto": ONNX Runtime on the CPU where the folder holds
            an ONNX file (the faster of the two there), Paddle Inference otherwise.
        device: "cpu" or "gpu".
        threads: CPU threads of one prediction.
        use_onednn: for Paddle Inference on CPUs.

    Raises:
        ConfigError: the engine is unknown, or its file or its package is missing.
    """
    if engine == "auto":
        has_onnx = device == "cpu" and find_file(folder, ONNX) is not None
        engine = "onnxruntime" if has_onnx else "paddle"
    if engine == "paddle":
        from ppcls.inference.engines.paddle_engine import PaddleEngine

        return PaddleEngine(folder, device, threads, use_onednn)
    if engine == "onnxruntime":
        from ppcls.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(folder, device, threads)
    raise ConfigError(
        f"unknown engine '{engine}'{did_you_mean(engine, ENGINES)}; "
        f"known engines: auto, {', '.join(ENGINES)}"
    )
