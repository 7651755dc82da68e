"""From the `Optimizer` section to an optimizer and its schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Optional

import paddle
from paddle.nn.clip import ClipGradBase

from ppcls.errors import ConfigError
from ppcls.optimizer.groups import assign_groups, layer_rates, log_groups, scale_rates
from ppcls.optimizer.options import OptimizerOptions, ScheduleOptions
from ppcls.optimizer.schedule import Schedule
from ppcls.optimizer.sharding import ShardedOptimizer
from ppcls.optimizer.weight_decay import WeightDecay, exempt_parameters
from ppcls.registry import LRS, OPTIMIZERS, parse_spec
from ppcls.utils.logger import logger


def build_optimizer(
    spec: "Mapping[str, Any]",
    model: paddle.nn.Layer,
    epochs: int,
    steps_per_epoch: int,
    loss: Optional[paddle.nn.Layer] = None,
    batch_size: Optional[int] = None,
    image_shape: Optional[Sequence[int]] = None,
    rank: int = 0,
    world_size: int = 1,
) -> "tuple[Any, Schedule]":
    """The optimizer of the parameters of `model` that are not frozen, and its learning rate.

    Args:
        spec: the `Optimizer` section, `{"name": "AdamW", "lr": {...}, ...}`.
        model: the bare model, not wrapped for data parallelism.
        epochs: length of the training.
        steps_per_epoch: optimizer steps per epoch; the schedule's `step()` is called after each.
        loss: has parameters to be trained too.
        batch_size: images per optimizer step, of all processes; `lr.auto_scale` needs it.
        image_shape: (C, H, W) of an image that the model takes; `layer_decay` needs it.
        rank, world_size: of this process, among which `shard_state` shares out the state.

    Raises:
        ConfigError: keys contradict each other.
    """
    name, arguments = parse_spec(spec)
    options, own = _split(arguments, OptimizerOptions)
    schedule = _build_schedule(options.lr, epochs, steps_per_epoch, batch_size)
    parameters = [*model.parameters(), *(loss.parameters() if loss is not None else ())]
    trained = [parameter for parameter in parameters if not parameter.stop_gradient]
    if not trained:
        raise ConfigError("there is nothing to train: every parameter of the model is frozen")
    decay = _treat_apart(model, options, image_shape)
    clip = _grad_clip(options)

    def build(parameters: "list[paddle.Tensor]", grad_clip: Optional[ClipGradBase] = None) -> Any:
        return OPTIMIZERS.get(name)(
            parameters=parameters, learning_rate=schedule, decay=decay, grad_clip=grad_clip, **own
        )

    if options.shard_state and world_size > 1:
        if len(trained) < world_size:
            raise ConfigError(
                f"Optimizer.shard_state: {len(trained)} parameters are trained, fewer than there "
                f"are processes ({world_size})"
            )
        return ShardedOptimizer(build, trained, clip, rank, world_size), schedule
    optimizer = build(trained, clip)
    return optimizer, schedule


def _treat_apart(
    model: paddle.nn.Layer, options: OptimizerOptions, image_shape: Optional[Sequence[int]]
) -> WeightDecay:
    """Scales the rates of parameters by `layer_decay` and `groups`; returns how all decay."""
    exempt = exempt_parameters(model, options)
    if options.layer_decay is None and not options.groups:
        return WeightDecay(options.weight_decay, exempt)
    parameters = {n: p.name for n, p in model.named_parameters() if not p.stop_gradient}
    rates = dict.fromkeys(parameters, 1.0)
    if options.layer_decay is not None:
        rates.update(layer_rates(model, options.layer_decay, image_shape))
    own = {}
    for name, group in assign_groups(model, options.groups or ()).items():
        rates[name] *= group.lr_mult
        if group.weight_decay is not None:
            own[parameters[name]] = group.weight_decay
    scale_rates(model, rates)
    decay = WeightDecay(options.weight_decay, exempt, own)
    # A `regularizer` is not a number, and is the optimizer's own.
    has_strength = options.weight_decay is not None or own
    strengths = {n: decay.strength_of(key) for n, key in parameters.items()} if has_strength else {}
    log_groups(rates, strengths)
    return decay


def _split(arguments: "dict[str, Any]", shared: type) -> "tuple[Any, dict[str, Any]]":
    """The options that all components of a kind share, and what is left for one's constructor."""
    names = {field.name for field in fields(shared)}
    own = {key: value for key, value in arguments.items() if key not in names}
    return shared(**{key: arguments[key] for key in arguments if key in names}), own


def _build_schedule(
    spec: Any, epochs: int, steps_per_epoch: int, batch_size: Optional[int]
) -> Schedule:
    name, arguments = parse_spec(spec)
    options, own = _split(arguments, ScheduleOptions)
    schedule = LRS.build({"name": name, **own}, epochs=epochs, steps_per_epoch=steps_per_epoch)
    if options.auto_scale:
        if options.base_batch_size is None or batch_size is None:
            raise ConfigError(
                "Optimizer.lr.auto_scale needs Optimizer.lr.base_batch_size: the images per "
                "optimizer step, of all processes, that the learning rate was chosen for"
            )
        schedule.rescale(batch_size / options.base_batch_size)
        logger.info(
            f"learning rates are multiplied by {schedule.scale:g}: {batch_size} images per step, "
            f"chosen for {options.base_batch_size} (Optimizer.lr.auto_scale)"
        )
    return schedule


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
