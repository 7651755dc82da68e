"""The base of all learning-rate schedules: warm-up, steps or epochs, exact resumption."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Optional

from paddle.optimizer.lr import LRScheduler

from ppcls.config.types import Range
from ppcls.errors import ConfigError

LastEpoch = Annotated[int, Range(low=-1)]


class Schedule(LRScheduler):
    """A learning rate that is a pure function of the number of optimizer steps done.

    (`ReduceOnPlateau` alone also follows what the evaluations say, and has more state.)

    Time is counted in ticks: optimizer steps, or with `by_epoch` epochs, within which the rate is
    constant. The rate rises linearly from `warmup_start_lr` at tick 0 to `peak` at the end of
    warm-up; from there on it is `decay(tick)`, ticks counted from the end of warm-up. Warm-up is
    part of `epochs`. So, as in PaddleClas, boundaries such as `decay_epochs` come later by the
    warm-up.

    `step()` is called once per optimizer step. The state is the number of steps alone: after
    `set_state_dict` the rate is what this schedule gives at that step.

    Args:
        peak: the rate at the end of warm-up.
        epochs: length of the training.
        steps_per_epoch: optimizer steps per epoch.
        warmup_epoch: length of the warm-up in epochs; fractions are rounded to whole ticks.
        warmup_start_lr: the rate at the first step of warm-up.
        by_epoch: change the rate between epochs only.
        last_epoch: the tick before the first one; -1 starts at the beginning.

    Raises:
        ConfigError: the warm-up leaves no epoch for the rest.
    """

    #: What the log calls the schedule: the name of Paddle's class for the same curve.
    name: str
    #: Factor of all rates, see `ScheduleOptions.auto_scale`.
    scale = 1.0
    #: Whether `observe` must be called for the schedule to do what it says.
    needs_evaluation = False

    def __init__(
        self,
        peak: float,
        epochs: int,
        steps_per_epoch: int,
        warmup_epoch: float,
        warmup_start_lr: float,
        by_epoch: bool,
        last_epoch: int,
    ):
        if warmup_epoch and warmup_epoch >= epochs:
            raise ConfigError(
                f"Optimizer.lr.warmup_epoch: a warm-up of {warmup_epoch:g} epochs does not fit "
                f"into Global.epochs = {epochs}; set Optimizer.lr.warmup_epoch below {epochs} "
                "(0 for none) or train longer"
            )
        self.peak = peak
        self.warmup_start_lr = warmup_start_lr
        self.steps_per_tick = steps_per_epoch if by_epoch else 1
        self.ticks_per_epoch = 1 if by_epoch else steps_per_epoch
        self.warmup_ticks = round(warmup_epoch * self.ticks_per_epoch)
        self.decay_ticks = epochs * self.ticks_per_epoch - self.warmup_ticks
        # Paddle's constructor takes the step before the first and makes one step.
        first_step = (last_epoch + 1) * self.steps_per_tick
        super().__init__(learning_rate=peak, last_epoch=first_step - 1)

    @property
    def tick(self) -> int:
        """Ticks done since the start of the training."""
        return self.last_epoch // self.steps_per_tick

    def get_lr(self) -> float:
        """The rate of the next optimizer step."""
        tick = self.tick
        if tick < self.warmup_ticks:
            rise = self.peak - self.warmup_start_lr
            return self.scale * (self.warmup_start_lr + rise * tick / self.warmup_ticks)
        return self.scale * self.decay(tick - self.warmup_ticks)

    def rescale(self, scale: float) -> None:
        """Multiplies all rates, from now on, by `scale`."""
        self.scale = scale
        self.last_lr = self.get_lr()

    @abstractmethod
    def decay(self, tick: int) -> float:
        """The rate `tick` ticks after the end of warm-up; the training ends at `decay_ticks`."""

    def observe(self, results: "Mapping[str, float]", quality: Optional[float]) -> None:
        """Called after each evaluation during training; only a schedule that reacts to it cares.

        Args:
            results: losses and metrics by name, the same in every process.
            quality: what decides which model is best; greater is better.
        """

    def set_state_dict(self, state_dict: "dict[str, Any]") -> None:
        """Continues at the step of `state_dict`, by this schedule's own parameters."""
        super().set_state_dict(state_dict)
        self.last_lr = self.get_lr()
