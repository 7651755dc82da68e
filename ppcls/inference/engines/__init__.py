"""Engines: each runs (B, C, H, W) float32 arrays through an exported model."""

from pathlib import Path
from typing import Any, Union

from ppcls.errors import ConfigError, did_you_mean
from ppcls.inference.engines.fixed_batch import FixedBatch
from ppcls.inference.engines.one_by_one import FasterWay
from ppcls.inference.model_dir import DESCRIPTION, ONNX_OF, Description

ENGINES = ("paddle", "onnxruntime", "openvino")


def create_engine(
    folder: Union[str, Path],
    engine: str = "auto",
    device: str = "cpu",
    threads: int = 1,
    use_onednn: bool = True,
    precision: str = "fp32",
    batch_size: int = 1,
    whole_batches: bool = False,
) -> Any:
    """The engine called `engine` on the model in `folder`.

    Args:
        engine: "paddle", "onnxruntime", "openvino", or "auto": the fastest on this machine, see
            `ppcls.inference.engines.choice`.
        device: "cpu" or "gpu".
        threads: CPU threads of one prediction.
        use_onednn: for Paddle Inference on CPUs.
        precision: "fp32"; ONNX Runtime also has "fp16" and "int8", OpenVINO "bf16" and "int8".
        batch_size: what "auto" measures with.
        whole_batches: never run the images of a batch one by one, see
            `ppcls.inference.engines.one_by_one`.

    Raises:
        ConfigError: the engine is unknown, or its file, its package or the precision is missing.
    """
    if precision not in ONNX_OF:
        raise ConfigError(
            f"unknown precision '{precision}'{did_you_mean(precision, ONNX_OF)}; "
            f"known: {', '.join(ONNX_OF)}"
        )
    if engine == "auto":
        from ppcls.inference.engines.choice import choose_engine

        engine = choose_engine(folder, device, threads, use_onednn, precision, batch_size)
    chosen = _create(folder, engine, device, threads, use_onednn, precision)
    # A program on its own, without the rest of an export, takes any number of images.
    if (Path(folder) / DESCRIPTION).exists():
        fixed = Description.read(folder).batch_size
        if fixed is not None:
            return FixedBatch(chosen, fixed)
    # Paddle Inference is faster with batches, and so are GPUs.
    if whole_batches or device != "cpu" or engine == "paddle":
        return chosen
    return FasterWay(chosen)


def _create(
    folder: Union[str, Path],
    engine: str,
    device: str,
    threads: int,
    use_onednn: bool,
    precision: str,
) -> Any:
    if engine == "paddle":
        if precision != "fp32":
            raise ConfigError(
                f"the engine 'paddle' has no precision '{precision}', only 'fp32'; use 'openvino' "
                "or 'onnxruntime'"
            )
        try:
            from ppcls.inference.engines.paddle_engine import PaddleEngine
        except ImportError as error:
            raise ConfigError(
                "the engine 'paddle' needs PaddlePaddle: pip install paddlepaddle"
            ) from error
        return PaddleEngine(folder, device, threads, use_onednn)
    if engine == "onnxruntime":
        from ppcls.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(folder, device, threads, precision)
    if engine == "openvino":
        from ppcls.inference.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(folder, device, threads, precision)
    raise ConfigError(
        f"unknown engine '{engine}'{did_you_mean(engine, ENGINES)}; "
        f"known engines: auto, {', '.join(ENGINES)}"
    )
