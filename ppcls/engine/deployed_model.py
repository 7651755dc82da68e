"""An exported folder in the place of a model, so that it can be evaluated like one."""

from pathlib import Path
from typing import Union

import numpy as np
import paddle
from paddle import nn

from ppcls.errors import ConfigError
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import Description

# Probabilities below it count as it: their logarithm must be a number.
_SMALLEST = 1e-30


class DeployedModel(nn.Layer):
    """Runs an exported model and gives logits.

    Of an export that ends in probabilities they are logits that give just these probabilities:
    log p, or log p - log(1 - p) for the sigmoids of a multi-label model.

    Args:
        folder: what `tools/export_model.py` wrote.
        engine: see `ppcls.inference.engines.create_engine`.
        device: "cpu" or "gpu".
        threads: CPU threads of one run.
        precision: see `create_engine`.

    Raises:
        ConfigError: the folder or the engine cannot be used.
    """

    def __init__(
        self,
        folder: Union[str, Path],
        engine: str = "auto",
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
    ):
        super().__init__()
        self.description = Description.read(folder)
        if self.description.output == "topk":
            raise ConfigError(
                f"{folder} gives the best {self.description.postprocess['topk']} classes only, and "
                "an evaluation needs all: export with --output prob or logits"
            )
        self.engine = create_engine(folder, engine, device, threads, precision=precision)
        probe = np.zeros((1, *self.description.image_shape), dtype=np.float32)
        self.class_num = self.engine.run(probe).shape[1]

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) float32 -> (B, class_num) float32."""
        outputs = self.engine.run(images.numpy())
        if self.description.output == "prob":
            with np.errstate(divide="ignore"):
                logits = np.log(np.maximum(outputs, _SMALLEST))
                if self.description.activation == "sigmoid":
                    logits -= np.log(np.maximum(1 - outputs, _SMALLEST))
            outputs = logits
        return paddle.to_tensor(outputs)
