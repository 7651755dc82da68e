"""Between a running training and its checkpoint: everything that a resume needs."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import paddle

from ppcls.arch.weights import load_weights
from ppcls.config import to_plain
from ppcls.engine.averages import RunningAverages
from ppcls.engine.checkpoint import Checkpoint, as_arrays, load_checkpoint
from ppcls.engine.optimizer_state import collect_state, restore_state
from ppcls.errors import CheckpointError
from ppcls.utils.logger import logger

if TYPE_CHECKING:
    from ppcls.engine.trainer import Trainer


@dataclass
class Position:
    """Where a run stands. `iteration` counts batches of one process since the start."""

    iteration: int = 0
    epoch: int = 0
    best_value: Optional[float] = None
    best_epoch: int = 0
    history: "list[dict[str, Any]]" = field(default_factory=list)
    #: Of an epoch that is not finished: the sums of its losses, the states of its metrics.
    averages: "Optional[list[float]]" = None
    metrics: "Optional[list[dict[str, Any]]]" = None
    skips_in_a_row: int = 0


def collect_run(trainer: "Trainer", averages: Optional[RunningAverages] = None) -> Checkpoint:
    """The state of a training between two steps.

    Args:
        averages: of the losses in an epoch that is not finished.
    """
    position = asdict(trainer.position)
    position["skips_in_a_row"] = trainer.watch.skips_in_a_row
    position["averages"] = averages.state() if averages else None
    position["metrics"] = [_numbers(m.state()) for m in trainer.train_metrics] if averages else None
    return Checkpoint(
        weights=as_arrays(trainer.model.state_dict()),
        optimizer=collect_state(trainer.optimizer, trainer.model, trainer.loss),
        ema=as_arrays(trainer.ema.state_dict()) if trainer.ema else None,
        states={
            "arch": trainer.arch_name,
            "position": position,
            "iterations_per_epoch": len(trainer.loader),
            "seed": trainer.options.seed,
            "scaler": trainer.precision.state(),
            "config": to_plain(trainer.config),
        },
    )


def resume_run(trainer: "Trainer", prefix: Path) -> None:
    """Puts a training that has just been built where a checkpoint left it.

    Raises:
        CheckpointError: the checkpoint cannot be read or is not one of such a training.
    """
    checkpoint = load_checkpoint(prefix)
    states = checkpoint.states
    load_weights(trainer.model, checkpoint.weights, source=f"the checkpoint {prefix}")
    if checkpoint.optimizer is None:
        raise CheckpointError(f"{prefix} holds no optimizer state to resume from")
    restore_state(trainer.optimizer, trainer.model, trainer.loss, checkpoint.optimizer)
    if trainer.ema is not None:
        if checkpoint.ema is None:
            raise CheckpointError(
                f"{prefix} holds no averaged weights, but the EMA section is set; remove the "
                "section, or start from the weights with Global.pretrained_model"
            )
        trainer.ema.set_state_dict(checkpoint.ema)
    trainer.precision.load_state(states["scaler"])
    position = trainer.position = Position(**states["position"])
    trainer.watch.skips_in_a_row = position.skips_in_a_row
    count = len(trainer.loader)
    if states["iterations_per_epoch"] != count:
        logger.warning(
            f"{prefix} was saved with {states['iterations_per_epoch']} iterations an epoch, "
            f"now there are {count}: going on from the start of epoch {position.epoch + 1}"
        )
        position.iteration = position.epoch * count
        position.averages = position.metrics = None
    if states["seed"] != trainer.options.seed:
        logger.warning(
            f"Global.seed is {trainer.options.seed}, the checkpoint's was {states['seed']}: "
            "the run goes on, but not as it would have uninterrupted"
        )
    logger.info(
        f"Resumed from {prefix}: epoch {position.epoch + 1}, iteration {position.iteration}"
    )


def resume_epoch(position: Position, averages: RunningAverages, metrics: "list[Any]") -> None:
    """Gives the averages and metrics of an epoch what its iterations before a resume added."""
    if position.averages is not None:
        averages.load_state(position.averages)
    for metric, state in zip(metrics, position.metrics or ()):
        metric.load_state(paddle.to_tensor(state["values"], dtype=state["dtype"]))
    position.averages = position.metrics = None


def _numbers(tensor: paddle.Tensor) -> "dict[str, Any]":
    array = tensor.numpy()
    return {"dtype": str(array.dtype), "values": array.tolist()}
