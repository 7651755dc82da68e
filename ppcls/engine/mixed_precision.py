"""Automatic mixed precision: the computation type, the loss scale, the optimizer step."""

from contextlib import AbstractContextManager
from typing import Any, Optional

import numpy as np
import paddle

from ppcls.config.sections import AMPOptions
from ppcls.utils.logger import logger


class MixedPrecision:
    """Wraps the three places of a training step that mixed precision changes.

    With `options` None everything is plain float32. float16 needs a scaled loss; bfloat16 has
    float32's exponent range and does not.
    """

    def __init__(self, options: Optional[AMPOptions], device: str):
        self.options = options if options is not None and options.use_amp else None
        self.dtype = "float32"
        self.scaler: Optional[paddle.amp.GradScaler] = None
        if self.options is None:
            return
        if device == "cpu":
            logger.warning("AMP: Paddle has no mixed precision on CPUs, computing in float32")
            self.options = None
            return
        self.dtype = self.options.dtype or "float16"
        if self.dtype == "float16":
            self.scaler = paddle.amp.GradScaler(
                init_loss_scaling=self.options.scale_loss,
                use_dynamic_loss_scaling=self.options.use_dynamic_loss_scaling,
            )
        logger.info(f"AMP: computing in {self.dtype}, level {self.options.level}")

    @property
    def wraps_optimizer(self) -> bool:
        """Whether steps need more than the optimizer: a loss scale, or copies of the weights."""
        return self.scaler is not None or (self.options is not None and self.options.level == "O2")

    def decorate(self, model: paddle.nn.Layer, optimizer: Any) -> "tuple[paddle.nn.Layer, Any]":
        """Level O2: weights in the computation type, with float32 master copies."""
        if self.options is None or self.options.level != "O2":
            return model, optimizer
        return paddle.amp.decorate(
            models=model,
            optimizers=optimizer,
            level="O2",
            dtype=self.dtype,
            master_weight=True,
            save_dtype="float32",
        )

    def autocast(self, training: bool = True) -> "AbstractContextManager[Any]":
        """The context of a forward pass."""
        enabled = self.options is not None and (training or self.options.use_fp16_test)
        if not enabled:
            return paddle.amp.auto_cast(enable=False)
        return paddle.amp.auto_cast(
            level=self.options.level,
            dtype=self.dtype,
            use_promote=self.options.use_promote,
        )

    def backward(self, loss: paddle.Tensor) -> None:
        """Back-propagates the (scaled) loss."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, optimizer: Any) -> None:
        """One optimizer step; a float16 step with infinite gradients is skipped by the scaler."""
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()

    def state(self) -> "Optional[dict[str, Any]]":
        """The loss scaler's state as plain numbers and lists."""
        if self.scaler is None:
            return None
        return {key: np.asarray(value).tolist() for key, value in self.scaler.state_dict().items()}

    def load_state(self, state: "Optional[dict[str, Any]]") -> None:
        """Restores what `state` gave."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
