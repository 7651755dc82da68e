"""Engines: each runs (B, C, H, W) float32 arrays through an exported model."""

from pathlib import Path
from typing import Any, Union

from ppcls.errors import ConfigError, did_you_mean
from ppcls.inference.engines.faster_way import FasterWay
from ppcls.inference.engines.fixed_batch import FixedBatch
from ppcls.inference.engines.side_by_side import SideBySide
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
        whole_batches: always run the images of a batch at once, see
            `ppcls.inference.engines.faster_way`.

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

    def create(threads: int) -> Any:
        return _create(folder, engine, device, threads, use_onednn, precision)

    chosen = create(threads)
    # A program on its own, without the rest of an export, takes any number of images.
    has_description = (Path(folder) / DESCRIPTION).exists()
    fixed = Description.read(folder).batch_size if has_description else None
    at_once = chosen if fixed is None else FixedBatch(chosen, fixed)
    # Paddle Inference is faster with batches, and so are GPUs.
    is_best_at_once = device != "cpu" or engine == "paddle"
    if whole_batches or is_best_at_once or fixed not in (None, 1):
        return at_once
    ways = [at_once] if fixed == 1 else [at_once, FixedBatch(chosen, 1)]
    if threads > 1:
        ways.append(SideBySide(lambda: create(1), threads))
    return FasterWay(chosen, ways, threads)


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
        try:
            from ppcls.inference.engines.openvino_engine import OpenVinoEngine
        except ImportError as error:
            raise ConfigError(
                "the engine 'openvino' needs OpenVINO: pip install \"logoclas[openvino]\""
            ) from error
        return OpenVinoEngine(folder, device, threads, precision)
    raise ConfigError(
        f"unknown engine '{engine}'{did_you_mean(engine, ENGINES)}; "
        f"known engines: auto, {', '.join(ENGINES)}"
    )
