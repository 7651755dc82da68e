"""Learning-rate schedules that rise and fall, again and again or once.

The keys that they share with all others, and ticks, are explained at
`ppcls.optimizer.schedule.Schedule`; T is the number of ticks from the end of warm-up to the end of
training.
"""

import math
from typing import Literal, Optional

from ppcls.config.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.optimizer.schedule import LastEpoch, Schedule
from ppcls.registry import LRS


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


LRS.add("CyclicLR", Cyclic)


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
