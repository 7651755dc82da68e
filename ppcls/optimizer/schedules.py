"""The learning-rate schedules of the `lr` section, under PaddleClas's names and keys.

`warmup_epoch`, `warmup_start_lr`, `by_epoch` and `last_epoch` mean the same in all of them, see
`ppcls.optimizer.schedule.Schedule`. t counts ticks from the end of warm-up, T is the number of
them up to the end of training, lr is `learning_rate`.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Annotated, Literal, Optional

from ppcls.config.types import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Range,
)
from ppcls.errors import ConfigError
from ppcls.optimizer.schedule import LastEpoch, Schedule
from ppcls.registry import LRS
from ppcls.utils.logger import logger


@LRS.register()
class Constant(Schedule):
    """lr, after the warm-up."""

    name = "Constant"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        return self.peak


LRS.add("ConstLR", Constant)


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


@LRS.register()
class Cosine(Schedule):
    """eta_min + (lr - eta_min) * (1 + cos(pi t / T)) / 2, and eta_min after T.

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        eta_min: the rate at the end of training.
    """

    name = "CosineAnnealingDecay"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        eta_min: NonNegativeFloat = 0.0,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        self.eta_min = eta_min
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        progress = min(tick / self.decay_ticks, 1.0)
        return self.eta_min + (self.peak - self.eta_min) * (1 + math.cos(math.pi * progress)) / 2


@LRS.register()
class Polynomial(Schedule):
    """end_lr + (lr - end_lr) * (1 - t / T)^power, and end_lr after T.

    Args:
        end_lr: the rate at the end of training.
        power: 1 is a straight line.
    """

    name = "PolynomialDecay"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        end_lr: NonNegativeFloat = 0.0,
        power: PositiveFloat = 1.0,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        self.end_lr = end_lr
        self.power = power
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        progress = min(tick / self.decay_ticks, 1.0)
        return self.end_lr + (self.peak - self.end_lr) * (1 - progress) ** self.power


LRS.add("Linear", Polynomial)


@LRS.register()
class Step(Schedule):
    """lr * gamma^floor(t / step_size).

    Args:
        step_size: epochs between two drops; fractions are rounded down to whole ticks.
        gamma: factor of each drop.
    """

    name = "StepDecay"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        step_size: PositiveFloat,
        gamma: PositiveFloat = 0.1,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        self.step_size = step_size
        self.gamma = gamma
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        ticks_per_drop = max(int(self.step_size * self.ticks_per_epoch), 1)
        return self.peak * self.gamma ** (tick // ticks_per_drop)


@LRS.register()
class MultiStepDecay(Schedule):
    """lr * gamma^(number of milestones reached).

    Args:
        milestones: epochs of the drops, ascending, counted from the end of warm-up.
        gamma: factor of each drop.
    """

    name = "MultiStepDecay"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: NonNegativeFloat,
        milestones: list[PositiveFloat],
        gamma: PositiveFloat = 0.1,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        _check_ascending("milestones", milestones)
        self.milestones = milestones
        self.gamma = gamma
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        return self.peak * self.gamma ** bisect_right(self.milestones, tick / self.ticks_per_epoch)


@LRS.register()
class Piecewise(Schedule):
    """values[number of decay_epochs reached].

    Args:
        decay_epochs: epochs of the changes, ascending, counted from the end of warm-up.
        values: the rates, one more than `decay_epochs`.
        learning_rate: the first rate, to which all `values` are scaled. It stands in
            many PaddleClas files beside `values` that begin with it, and in some (AlexNet) beside
            others, where it is what counts.

    Raises:
        ConfigError: the lists do not fit together.
    """

    name = "PiecewiseDecay"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        decay_epochs: list[PositiveFloat],
        values: list[NonNegativeFloat],
        learning_rate: Optional[NonNegativeFloat] = None,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        _check_ascending("decay_epochs", decay_epochs)
        if len(values) != len(decay_epochs) + 1:
            raise ConfigError(
                f"Optimizer.lr.values: {len(decay_epochs)} decay_epochs need "
                f"{len(decay_epochs) + 1} values, received {len(values)}"
            )
        if learning_rate is not None and learning_rate != values[0]:
            if values[0] == 0:
                raise ConfigError(
                    f"Optimizer.lr.learning_rate: {learning_rate:g} cannot be the first rate, as "
                    "the values begin with 0; remove learning_rate, or change values"
                )
            values = [learning_rate * (value / values[0]) for value in values]
            logger.warning(
                "Optimizer.lr.learning_rate is not the first of Optimizer.lr.values: the rates are "
                + ", ".join(f"{value:g}" for value in values)
            )
        self.decay_epochs = decay_epochs
        self.values = values
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(values[0], epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        return self.values[bisect_right(self.decay_epochs, tick / self.ticks_per_epoch)]


@LRS.register()
class Cyclic(Schedule):
    """Triangles between two rates: Smith 2017, https://arxiv.org/abs/1506.01186.

    Args:
        base_learning_rate: the rate at the foot of each triangle, and at the end of warm-up.
        max_learning_rate: the rate at the top of the first triangle.
        step_size_up: ticks from foot to top.
        step_size_down: ticks from top to foot; default `step_size_up`.
        mode: `triangular` keeps the height, `triangular2` halves it after each triangle,
            `exp_range` multiplies it by `exp_gamma` each tick.
        exp_gamma: see `mode`.
    """

    name = "CyclicLR"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        base_learning_rate: NonNegativeFloat,
        max_learning_rate: NonNegativeFloat,
        step_size_up: PositiveInt,
        step_size_down: Optional[PositiveInt] = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        exp_gamma: PositiveFloat = 1.0,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        self.height = max_learning_rate - base_learning_rate
        self.ticks_up = step_size_up
        self.ticks_down = step_size_down or step_size_up
        self.mode = mode
        self.exp_gamma = exp_gamma
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(base_learning_rate, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        cycle, position = divmod(tick, self.ticks_up + self.ticks_down)
        if position <= self.ticks_up:
            share = position / self.ticks_up
        else:
            share = 1 - (position - self.ticks_up) / self.ticks_down
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.exp_gamma**tick}
        return self.peak + self.height * share * scale[self.mode]


@LRS.register()
class OneCycleLR(Schedule):
    """One rise and one fall: Smith & Topin 2018, https://arxiv.org/abs/1708.07120.

    The rate goes from max / divide_factor to max in the first `phase_pct` of the training, then to
    `end_learning_rate`; with `three_phase` it first falls back to max / divide_factor, as slowly as
    it rose.

    Args:
        max_learning_rate: the rate at the top.
        divide_factor: top over start.
        end_learning_rate: the rate of the last step.
        phase_pct: share of the training in which the rate rises.
        anneal_strategy: `cos` or `linear` between the corners.
        three_phase: fall back to the start before the final fall.

    Raises:
        ConfigError: `three_phase` with a `phase_pct` that leaves nothing for the third phase.
    """

    name = "OneCycleLR"

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        max_learning_rate: NonNegativeFloat,
        divide_factor: PositiveFloat = 25.0,
        end_learning_rate: NonNegativeFloat = 1e-10,
        phase_pct: Probability = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
        warmup_epoch: NonNegativeFloat = 0,
        warmup_start_lr: NonNegativeFloat = 0.0,
        by_epoch: bool = False,
        last_epoch: LastEpoch = -1,
    ):
        if three_phase and phase_pct >= 0.5:
            raise ConfigError(
                f"Optimizer.lr.phase_pct: {phase_pct:g} leaves nothing for the third phase; "
                "set it below 0.5"
            )
        start = max_learning_rate / divide_factor
        back = [start] if three_phase else []
        self.corners = [start, max_learning_rate, *back, end_learning_rate]
        self.phase_pct = phase_pct
        self.anneal_strategy = anneal_strategy
        warmup = (warmup_epoch, warmup_start_lr, by_epoch, last_epoch)
        super().__init__(start, epochs, steps_per_epoch, *warmup)

    def decay(self, tick: int) -> float:
        # Tick 0 has the first corner's rate, the last tick, T - 1, the last one's.
        top = self.phase_pct * self.decay_ticks - 1
        back = [2 * top] if len(self.corners) == 4 else []
        begin = 0.0
        for corner, end in enumerate([top, *back, self.decay_ticks - 1]):
            if tick < end:
                progress = (tick - begin) / (end - begin)
                if self.anneal_strategy == "cos":
                    progress = (1 - math.cos(math.pi * progress)) / 2
                left, right = self.corners[corner : corner + 2]
                return left + (right - left) * progress
            begin = end
        return self.corners[-1]


LRS.add("OneCycle", OneCycleLR)
LRS.add("CyclicLR", Cyclic)


def _check_ascending(key: str, epochs: "list[float]") -> None:
    if any(second <= first for first, second in zip(epochs, epochs[1:])):
        raise ConfigError(f"Optimizer.lr.{key}: expected ascending epochs, received {epochs}")
