"""One iteration of training: forward, backward and, where its group is complete, a step."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

import paddle
from paddle import nn

from ppcls.config.sections import GlobalOptions
from ppcls.engine.averages import RunningAverages
from ppcls.engine.environment import Environment, seed_step
from ppcls.engine.loss_watch import LossWatch, drop_broken_gradients
from ppcls.engine.mixed_precision import MixedPrecision
from ppcls.engine.running_statistics import StatisticsGuard, statistic_names
from ppcls.loss import CombinedLoss
from ppcls.optimizer import ExponentialMovingAverage, Schedule


class TrainingStep:
    """Trains on one batch after the other; none of it waits for the device.

    Args:
        model: the bare model.
        network: what runs: the model, perhaps as a static graph and for data parallelism.
        loss: of the network's outputs and the labels.
        optimizer, schedule, ema: advance at the end of each group of `Global.update_freq`
            iterations.
        metrics: of the training outputs.
        precision: mixed precision.
        options: the `Global` section.
        environment: of this process.
        watch: sees every loss.
        iterations_per_epoch: of this process.
    """

    def __init__(
        self,
        model: nn.Layer,
        network: nn.Layer,
        loss: CombinedLoss,
        optimizer: Any,
        schedule: Schedule,
        ema: Optional[ExponentialMovingAverage],
        metrics: "list[Any]",
        precision: MixedPrecision,
        options: GlobalOptions,
        environment: Environment,
        watch: LossWatch,
        iterations_per_epoch: int,
    ):
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.ema = ema
        self.metrics = metrics
        self.precision = precision
        self.options = options
        self.environment = environment
        self.watch = watch
        self.iterations_per_epoch = iterations_per_epoch
        self.skips = watch.on_nan == "skip"
        self._parameters = [*model.parameters(), *loss.parameters()]
        state = model.state_dict(use_hook=False)
        statistics = [state[name] for name in statistic_names(model)] if self.skips else []
        self._guard = StatisticsGuard(statistics)

    def __call__(self, batch: Any, iteration: int, averages: RunningAverages) -> bool:
        """Trains on a batch; returns whether its group of iterations is complete.

        Args:
            batch: see `ppcls.data.loader.Batch`.
            iteration: number since the start of the training, from 0 on.
            averages: receive the losses.
        """
        frequency, count = self.options.update_freq, self.iterations_per_epoch
        position = iteration % count
        first_of_group = position - position % frequency
        group = min(frequency, count - first_of_group)
        step_ends = position - first_of_group == group - 1

        seed_step(self.options.seed, self.environment.rank, iteration)
        self._guard.keep()
        with self._gradient_sync(step_ends):
            with self.precision.autocast():
                outputs = self.network(batch.images)
            losses = self.loss(outputs, batch.labels)
            self.precision.backward(losses["loss"] / group)
        self._guard.repair()
        is_sound = self._step() if step_ends else None
        self.watch.note(iteration, losses["loss"], batch.indices, step_ends, is_sound)
        averages.update(losses, weight=len(batch.labels), only_finite=self.skips)
        with paddle.no_grad():
            for metric in self.metrics:
                metric.update(outputs, batch.labels)
        return step_ends

    def _step(self) -> Optional[paddle.Tensor]:
        self._average_loss_gradients()
        is_sound = None
        # With a loss scale it is the scaler that skips, and lowers the scale.
        if self.skips and self.precision.scaler is None:
            is_sound = drop_broken_gradients(self._parameters)
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        self.schedule.step()
        if self.ema is not None:
            self.ema.update()
        return is_sound

    def _gradient_sync(self, step_ends: bool) -> "AbstractContextManager[Any]":
        """Gradients are summed over processes once per optimizer step."""
        if self.environment.world_size > 1 and not step_ends:
            return self.network.no_sync()
        return nullcontext()

    @paddle.no_grad()
    def _average_loss_gradients(self) -> None:
        """Weights of losses are outside the network, whose gradients Paddle averages."""
        if self.environment.world_size > 1:
            for parameter in self.loss.parameters():
                if parameter.grad is not None:
                    self.environment.sum(parameter.grad).scale_(1 / self.environment.world_size)
