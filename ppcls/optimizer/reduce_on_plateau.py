"""The learning-rate schedule that follows what the evaluations say.

The keys that it shares with all others are explained at `ppcls.optimizer.schedule.Schedule`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Optional

from ppcls.config.types import NonNegativeFloat, NonNegativeInt, Range
from ppcls.errors import ConfigError
from ppcls.optimizer.schedule import LastEpoch, Schedule
from ppcls.registry import LRS


@LRS.register()
class ReduceOnPlateau(Schedule):
    """lr, times `factor` whenever the evaluations have not become better for a while.

    Needs `Global.eval_during_train`. Evaluations during warm-up do not count.

    Args:
        mode: `min` watches a value that shall fall, `max` one that shall rise.
        monitor: what is watched: a loss or metric by its name in the log, e.g. `top1`. By default
            for `min` the loss, for `max` what decides which model is best.
        factor: of each drop.
        patience: evaluations without a better value before a drop.
        threshold: how much better is better.
        threshold_mode: `rel`, as a share of the best value, or `abs`.
        cooldown: evaluations after a drop that do not count.
        min_lr: no drop goes below it.
        epsilon: no drop by this much or less.
    """

    name = "ReduceOnPlateau"
    needs_evaluation = True

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        mode: Literal["min", "max"] = "min",
        monitor: Optional[str] = None,
        factor: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
        patience: NonNegativeInt = 10,
        threshold: NonNegativeFloat = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: NonNegativeInt = 0,
        min_lr: NonNegativeFloat = 0.0,
        epsilon: NonNegativeFloat = 1e-8,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        self.mode = mode
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.epsilon = epsilon
        self.rate = learning_rate
        self.best = math.inf
        self.evaluations_without = 0
        self.cooldown_left = 0
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        return self.rate

    def observe(self, results: "Mapping[str, float]", quality: Optional[float]) -> None:
        """Drops the rate if the time has come.

        Raises:
            ConfigError: the evaluation has no such value.
        """
        value = self._watched(results, quality)
        if self.tick <= self.warmup_ticks:
            return
        if self.cooldown_left:
            self.cooldown_left -= 1
            return
        if self._is_better(value):
            self.best, self.evaluations_without = value, 0
        else:
            self.evaluations_without += 1
        if self.evaluations_without > self.patience:
            self.cooldown_left, self.evaluations_without = self.cooldown, 0
            lower = max(self.rate * self.factor, self.min_lr)
            if self.rate - lower > self.epsilon:
                self.rate = lower
                self.last_lr = self.get_lr()

    def state_keys(self) -> None:
        """Names what a resumed run needs (called by Paddle)."""
        super().state_keys()
        self.keys += ["rate", "best", "evaluations_without", "cooldown_left"]

    def _watched(self, results: "Mapping[str, float]", quality: Optional[float]) -> float:
        """The value; smaller is better."""
        if self.mode == "max" and self.monitor is None and quality is not None:
            return -quality
        name = self.monitor or "loss"
        if name not in results:
            raise ConfigError(
                f"Optimizer.lr: ReduceOnPlateau watches `{name}`, which the evaluation does not "
                f"have; it has {', '.join(results)}. Set monitor, or add to Loss.Eval"
            )
        return results[name] if self.mode == "min" else -results[name]

    def _is_better(self, value: float) -> bool:
        if math.isinf(self.best):
            return True
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        return value < self.best - margin
