"""From the `Optimizer` section to an optimizer and its schedule."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Optional

import paddle
from paddle.nn.clip import ClipGradBase

from ppcls.errors import ConfigError
from ppcls.optimizer.options import OptimizerOptions
from ppcls.optimizer.schedule import Schedule
from ppcls.optimizer.weight_decay import WeightDecay, exempt_parameters
from ppcls.registry import LRS, OPTIMIZERS, parse_spec


def build_optimizer(
    spec: "Mapping[str, Any]",
    model: paddle.nn.Layer,
    epochs: int,
    steps_per_epoch: int,
    loss: Optional[paddle.nn.Layer] = None,
) -> "tuple[paddle.optimizer.Optimizer, Schedule]":
    """The optimizer of the parameters of `model` that are not frozen, and its learning rate.

    Args:
        spec: the `Optimizer` section, `{"name": "AdamW", "lr": {...}, ...}`.
        model: the bare model, not wrapped for data parallelism.
        epochs: length of the training.
        steps_per_epoch: optimizer steps per epoch; the schedule's `step()` is called after each.
        loss: has parameters to be trained too.

    Raises:
        ConfigError: keys contradict each other.
    """
    name, arguments = parse_spec(spec)
    shared = {field.name for field in fields(OptimizerOptions)}
    own = {key: value for key, value in arguments.items() if key not in shared}
    options = OptimizerOptions(**{key: arguments[key] for key in arguments if key in shared})
    schedule = LRS.build(options.lr, epochs=epochs, steps_per_epoch=steps_per_epoch)
    parameters = [*model.parameters(), *(loss.parameters() if loss is not None else ())]
    trained = [parameter for parameter in parameters if not parameter.stop_gradient]
    if not trained:
        raise ConfigError("there is nothing to train: every parameter of the model is frozen")
    optimizer = OPTIMIZERS.get(name)(
        parameters=trained,
        learning_rate=schedule,
        decay=WeightDecay(options.weight_decay, exempt_parameters(model, options)),
        grad_clip=_grad_clip(options),
        **own,
    )
    return optimizer, schedule


def _grad_clip(options: OptimizerOptions) -> Optional[ClipGradBase]:
    if options.clip_norm is not None and options.clip_grad is not None:
        raise ConfigError(
            "Optimizer.clip_norm clips each gradient, Optimizer.clip_grad all together; keep one"
        )
    if options.clip_norm is not None:
        return paddle.nn.ClipGradByNorm(clip_norm=options.clip_norm)
    if options.clip_grad is not None:
        return paddle.nn.ClipGradByGlobalNorm(clip_norm=options.clip_grad)
    return None
