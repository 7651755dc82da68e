"""The learning-rate schedules that decay by a formula, under PaddleClas's names and keys.

`warmup_epoch`, `warmup_start_lr`, `by_epoch` and `last_epoch` mean the same in all of them, see
`ppcls.optimizer.schedule.Schedule`. t counts ticks from the end of warm-up, T is the number of
them up to the end of training, lr is `learning_rate`.
"""

import math
from bisect import bisect_right
from typing import Optional

from ppcls.config.types import NonNegativeFloat, PositiveFloat
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


def _check_ascending(key: str, epochs: "list[float]") -> None:
    if any(second <= first for first, second in zip(epochs, epochs[1:])):
        raise ConfigError(f"Optimizer.lr.{key}: expected ascending epochs, received {epochs}")
