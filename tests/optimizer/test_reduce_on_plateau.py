"""The schedule that follows evaluations."""

import numpy as np
import pytest
from paddle.optimizer import lr as paddle_lr

from ppcls.errors import ConfigError
from ppcls.registry import LRS

STEPS = 3
#: Falls, stands still, falls, rises.
LOSSES = [3, 2, 1.5, 1.5, 1.6, 1.5, 1.5, 1.4, 1.4, 1.4, 1.4, 1.4, 1.3, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]


def build(**arguments):
    spec = {"name": "ReduceOnPlateau", "learning_rate": 0.1, **arguments}
    return LRS.build(spec, epochs=40, steps_per_epoch=STEPS)


def run(schedule, results, qualities=None):
    """The rate at the start of each epoch, an evaluation after each."""
    rates = []
    for result, quality in zip(results, qualities or [None] * len(results)):
        rates.append(schedule())
        for _ in range(STEPS):
            schedule.step()
        schedule.observe(result, quality)
    return rates


def by_paddle(values, **arguments):
    scheduler = paddle_lr.ReduceOnPlateau(learning_rate=0.1, **arguments)
    rates = []
    for value in values:
        rates.append(scheduler())
        scheduler.step(value)
    return rates


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 2},
        {"patience": 1, "cooldown": 2, "factor": 0.5},
        {"patience": 1, "threshold": 0.2, "threshold_mode": "abs"},
        {"patience": 1, "threshold": 0.1},
        {"patience": 0, "min_lr": 0.03, "factor": 0.5},
    ],
)
def test_equals_paddles_schedule(arguments):
    found = run(build(**arguments), [{"loss": value} for value in LOSSES])
    expected = by_paddle(LOSSES, **arguments)
    assert found == pytest.approx(expected)
    assert len(set(expected)) > 1


def test_watches_what_decides_the_best_model_when_it_shall_rise():
    accuracies = [0.1, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4]
    results = [{"loss": 1.0, "top1": accuracy} for accuracy in accuracies]
    expected = by_paddle(accuracies, mode="max", patience=1)
    by_default = run(build(mode="max", patience=1), results, accuracies)
    by_name = run(build(mode="max", patience=1, monitor="top1"), results)
    assert by_default == by_name == pytest.approx(expected)
    # A distance that falls is a quality that rises.
    distances = [-accuracy for accuracy in accuracies]
    assert run(build(mode="min", monitor="d", patience=1), [{"d": d} for d in distances]) == by_name


def test_warm_up_comes_first_and_its_evaluations_do_not_count():
    schedule = build(warmup_epoch=3, warmup_start_lr=0.01, patience=0)
    rates = run(schedule, [{"loss": 1.0}] * 6)
    np.testing.assert_allclose(rates, [0.01, 0.04, 0.07, 0.1, 0.1, 0.01])


def test_resumes_exactly():
    results = [{"loss": value} for value in LOSSES]
    whole = run(build(patience=1, cooldown=1), results)
    for stop in range(1, len(results)):
        first, second = build(patience=1, cooldown=1), build(patience=1, cooldown=1)
        run(first, results[:stop])
        second.set_state_dict(first.state_dict())
        assert run(second, results[stop:]) == whole[stop:]


def test_a_value_that_is_not_there():
    with pytest.raises(ConfigError, match=r"watches `top5`.* it has loss, top1"):
        run(build(monitor="top5"), [{"loss": 1.0, "top1": 0.5}])
