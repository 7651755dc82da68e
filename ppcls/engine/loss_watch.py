"""Losses that are not numbers: noticed, traced to their images, and by option survived.

Nothing here waits for the device in every iteration. The loss of each iteration stays there, with
the numbers of its images, until `check` reads all of them at once; the trainer calls it where it
reads the device anyway: every `Global.print_batch_step` iterations, before a save, and at the end
of an epoch. Whether a step is taken is decided on the device too, see `drop_broken_gradients`.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import paddle

from ppcls.engine.environment import Environment
from ppcls.errors import TrainingError
from ppcls.utils.logger import logger
from ppcls.utils.text import shorten_list


class _Iteration(NamedTuple):
    number: int
    loss: paddle.Tensor
    #: Of the images, (B,) int64.
    indices: paddle.Tensor
    ends_step: bool
    #: Whether the gradients of the step that it ends were all numbers; None if nobody looked.
    is_sound: Optional[paddle.Tensor]


class LossWatch:
    """Remembers the iterations since the last `check`, and judges them there.

    Args:
        dataset: `path(index)` names its images.
        iterations_per_epoch: of one process.
        environment: processes agree on what they found.
        folder: receives `bad_batches.jsonl` (of process r > 0, `bad_batches_r.jsonl`).
        on_nan: `stop` raises; `skip` only after `max_skips` steps in a row.
        max_skips: see `on_nan`.
    """

    def __init__(
        self,
        dataset: Any,
        iterations_per_epoch: int,
        environment: Environment,
        folder: Path,
        on_nan: Literal["stop", "skip"],
        max_skips: int,
    ):
        self.dataset = dataset
        self.iterations_per_epoch = iterations_per_epoch
        self.environment = environment
        self.folder = folder
        self.on_nan = on_nan
        self.max_skips = max_skips
        #: Optimizer steps skipped since the last one that was not; part of a checkpoint.
        self.skips_in_a_row = 0
        self._step_is_broken = False
        self._iterations: list[_Iteration] = []

    def note(
        self,
        number: int,
        loss: paddle.Tensor,
        indices: paddle.Tensor,
        ends_step: bool,
        is_sound: Optional[paddle.Tensor] = None,
    ) -> None:
        """Remembers an iteration.

        Args:
            number: of the iteration since the start of the training, from 0 on.
            loss: scalar.
            indices: (B,) int64, of its images.
            ends_step: whether an optimizer step followed.
            is_sound: what `drop_broken_gradients` gave for that step.
        """
        self._iterations.append(_Iteration(number, loss.detach(), indices, ends_step, is_sound))

    def check(self) -> None:
        """Waits for the device and judges what was noted since the last call.

        All processes must call it at the same iterations.

        Raises:
            TrainingError: a loss is not a number and `on_nan` is `stop`, or too many were skipped.
        """
        iterations, self._iterations = self._iterations, []
        if not iterations:
            return
        losses = paddle.stack([item.loss.astype("float32").reshape([]) for item in iterations])
        # Gradients were summed over the processes, so all of them find the same broken ones.
        flags = [item.is_sound for item in iterations if item.is_sound is not None]
        sound = iter(paddle.stack(flags).tolist() if flags else ())
        for item, loss, culprits in zip(iterations, losses.tolist(), self._culprits(losses)):
            is_sound = item.is_sound is None or next(sound)
            is_mine = culprits[self.environment.rank]
            if is_mine or (not is_sound and not self._step_is_broken and not culprits.any()):
                self._write(item, loss)
            if self.on_nan == "stop" and culprits.any():
                raise self._failure(item, loss, culprits)
            self._step_is_broken |= bool(culprits.any()) or not is_sound
            if item.ends_step:
                self._count(item, self._step_is_broken)
                self._step_is_broken = False

    def _culprits(self, losses: paddle.Tensor) -> np.ndarray:
        """(iterations, processes) bool: whose loss is not a number."""
        flags = paddle.zeros([len(losses), self.environment.world_size], dtype="int32")
        flags[:, self.environment.rank] = paddle.logical_not(paddle.isfinite(losses)).astype(
            "int32"
        )
        return self.environment.sum(flags).numpy() > 0

    def _count(self, item: _Iteration, is_broken: bool) -> None:
        self.skips_in_a_row = self.skips_in_a_row + 1 if is_broken else 0
        if not is_broken:
            return
        logger.warning(f"the step {self._where(item)} was skipped; its images are in {self._file}")
        if self.skips_in_a_row >= self.max_skips:
            raise TrainingError(
                f"{self.skips_in_a_row} steps in a row (Global.max_skips), the last "
                f"{self._where(item)}, had a loss or gradients that are not numbers; their images "
                f"are in {self._file}"
            )

    def _failure(self, item: _Iteration, loss: float, culprits: np.ndarray) -> TrainingError:
        processes = np.flatnonzero(culprits)
        if self.environment.rank in processes:
            return TrainingError(
                f"the loss is {loss} {self._where(item)}; its images are "
                f"{shorten_list(self._names(item))}, listed in {self._file}"
            )
        return TrainingError(
            f"the loss is not a number {self._where(item)} in process {processes[0]}; its images "
            f"are listed in {self._file_of(processes[0])}"
        )

    def _where(self, item: _Iteration) -> str:
        epoch, position = divmod(item.number, self.iterations_per_epoch)
        return f"in epoch {epoch + 1}, iteration {position + 1}"

    def _write(self, item: _Iteration, loss: float) -> None:
        epoch, position = divmod(item.number, self.iterations_per_epoch)
        line = {
            "epoch": epoch + 1,
            "iteration": position + 1,
            # JSON has no NaN.
            "loss": loss if math.isfinite(loss) else str(loss),
            "files": self._names(item),
        }
        try:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            logger.error(f"{self._file} could not be written ({error}): {json.dumps(line)}")

    def _names(self, item: _Iteration) -> "list[str]":
        return [str(self.dataset.path(index)) for index in item.indices.tolist()]

    @property
    def _file(self) -> Path:
        return self._file_of(self.environment.rank)

    def _file_of(self, rank: int) -> Path:
        return self.folder / (f"bad_batches_{rank}.jsonl" if rank else "bad_batches.jsonl")


@paddle.no_grad()
def drop_broken_gradients(parameters: "Iterable[paddle.Tensor]") -> paddle.Tensor:
    """Makes all gradients zero if one of them holds an infinite value or NaN.

    The decision stays on the device. The optimizer then makes a step without a gradient: weights
    move by momentum and decay alone. Not to step at all would need the decision on the host, in
    every step.

    Returns:
        whether there was none, a bool scalar on the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # A sum is a number only if all values are (or is so large that the step would be broken).
    sums = paddle.stack([gradient.astype("float32").sum() for gradient in gradients])
    is_sound = paddle.isfinite(sums).all()
    for gradient in gradients:
        kept = paddle.where(is_sound, gradient, paddle.zeros_like(gradient))
        paddle.assign(kept, output=gradient)
    return is_sound
