"""Between a running training and its checkpoint: everything that a resume needs."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import paddle

from ppcls.arch.weights import load_weights
from ppcls.config import to_plain
from ppcls.engine.averages import RunningAverages
from ppcls.engine.checkpoint import (
    LATEST,
    STATES,
    Checkpoint,
    as_arrays,
    load_checkpoint,
    save_checkpoint,
    save_student,
)
from ppcls.engine.optimizer_state import collect_state, restore_state
from ppcls.errors import CheckpointError, TrainingError
from ppcls.optimizer.sharding import ShardedOptimizer
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


def save_run(trainer: "Trainer", name: str, averages: Optional[RunningAverages] = None) -> None:
    """Saves a checkpoint in the folder of a run; a full disk costs this checkpoint, not the run.

    All processes call it between the same two steps.

    Args:
        name: of the checkpoint.
        averages: of the losses in an epoch that is not finished.

    Raises:
        TrainingError: a weight is not a number.
    """
    if trainer.environment.is_main:
        try:
            checkpoint = _collect(trainer, averages)
            _check_weights(checkpoint.weights, trainer)
            save_checkpoint(trainer.folder, name, checkpoint)
            if trainer.student_prefix:
                save_student(trainer.folder, name, checkpoint, trainer.student_prefix)
        except OSError as error:
            logger.error(
                f"{trainer.folder / name} could not be saved ({error}); the checkpoint before it "
                "is intact and training goes on"
            )
    elif isinstance(trainer.optimizer, ShardedOptimizer):
        trainer.optimizer.state_dict()  # the first process asks for it, to save
    trainer.environment.barrier()


def _check_weights(weights: "dict[str, np.ndarray]", trainer: "Trainer") -> None:
    broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise failure_of(
            trainer.folder,
            f"{len(broken)} tensors of the model ({broken[0]} first) hold infinite values or NaN "
            f"after iteration {trainer.position.iteration}",
        )


def failure_of(folder: Path, what: str) -> TrainingError:
    """The error of a run whose numbers have failed, with what to do about it."""
    latest = folder / LATEST
    is_saved = Path(f"{latest}{STATES}").exists()
    saved = f"the last good checkpoint is {latest}" if is_saved else "no checkpoint was saved"
    return TrainingError(
        f"{what}. Lower Optimizer.lr.learning_rate, clip gradients (Optimizer.clip_grad: 1.0) or "
        f"check the data; {saved}"
    )


def _collect(trainer: "Trainer", averages: Optional[RunningAverages]) -> Checkpoint:
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
