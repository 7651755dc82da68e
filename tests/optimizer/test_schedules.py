"""Learning-rate schedules against closed formulas and against Paddle's own schedulers."""

import math

import numpy as np
import paddle
import pytest
from paddle.optimizer import lr as paddle_lr

from ppcls.config.schema import Faults, check_component
from ppcls.errors import ConfigError
from ppcls.registry import LRS

EPOCHS, STEPS = 10, 7
WARMUP = {"warmup_epoch": 3, "warmup_start_lr": 1e-4}


def build(name, **arguments):
    return LRS.build({"name": name, **arguments}, epochs=EPOCHS, steps_per_epoch=STEPS)


def rates(schedule, count=EPOCHS * STEPS + 1):
    """The rates of `count` optimizer steps."""
    values = []
    for _ in range(count):
        values.append(schedule())
        schedule.step()
    return values


# name, arguments, formula of (t, end), both in epochs from the end of warm-up.
CURVES = {
    "Constant": ({"learning_rate": 0.1}, lambda t, end: 0.1),
    "ConstLR": ({"learning_rate": 0.1}, lambda t, end: 0.1),
    "Cosine": (
        {"learning_rate": 0.1, "eta_min": 0.01},
        lambda t, end: 0.01 + 0.09 * (1 + math.cos(math.pi * t / end)) / 2,
    ),
    "Linear": (
        {"learning_rate": 0.1, "end_lr": 0.02},
        lambda t, end: 0.1 - 0.08 * t / end,
    ),
    "Polynomial": (
        {"learning_rate": 0.1, "end_lr": 0.02, "power": 2.0},
        lambda t, end: 0.02 + 0.08 * (1 - t / end) ** 2,
    ),
    "Step": (
        {"learning_rate": 0.1, "step_size": 2, "gamma": 0.3},
        lambda t, end: 0.1 * 0.3 ** (t // 2),
    ),
    "MultiStepDecay": (
        {"learning_rate": 0.1, "milestones": [1, 4], "gamma": 0.3},
        lambda t, end: 0.1 if t < 1 else 0.03 if t < 4 else 0.009,
    ),
    "Piecewise": (
        {"decay_epochs": [1, 4], "values": [0.1, 0.05, 0.007]},
        lambda t, end: 0.1 if t < 1 else 0.05 if t < 4 else 0.007,
    ),
}


@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize("warmup", [{}, WARMUP], ids=["no warm-up", "warm-up"])
@pytest.mark.parametrize("name", CURVES)
def test_equals_its_formula_at_every_step(name, warmup, by_epoch):
    arguments, formula = CURVES[name]
    begin = warmup.get("warmup_epoch", 0)
    for step, rate in enumerate(rates(build(name, by_epoch=by_epoch, **arguments, **warmup))):
        epoch = step // STEPS if by_epoch else step / STEPS
        if epoch < begin:
            expected = 1e-4 + (0.1 - 1e-4) * epoch / begin
        else:
            # Whole steps over steps per epoch, as 1 / 7 * 7 is not 1.
            t = epoch - begin if by_epoch else (step - begin * STEPS) / STEPS
            expected = formula(t, EPOCHS - begin)
        assert rate == pytest.approx(expected, rel=1e-12, abs=1e-15), f"step {step}"


def paddle_schedulers():
    """The schedulers that PaddleClas builds for a training without warm-up, per step."""
    total = EPOCHS * STEPS
    return {
        "Cosine": (
            {"learning_rate": 0.1, "eta_min": 0.01},
            paddle_lr.CosineAnnealingDecay(0.1, T_max=total, eta_min=0.01),
        ),
        "Linear": (
            {"learning_rate": 0.1, "end_lr": 0.02, "power": 1.5},
            paddle_lr.PolynomialDecay(0.1, decay_steps=total, end_lr=0.02, power=1.5),
        ),
        "Step": (
            {"learning_rate": 0.1, "step_size": 2.4, "gamma": 0.3},
            paddle_lr.StepDecay(0.1, step_size=int(2.4 * STEPS), gamma=0.3),
        ),
        "MultiStepDecay": (
            {"learning_rate": 0.1, "milestones": [2, 5]},
            paddle_lr.MultiStepDecay(0.1, milestones=[2 * STEPS, 5 * STEPS]),
        ),
        "Piecewise": (
            {"decay_epochs": [2, 5], "values": [0.1, 0.05, 0.01]},
            paddle_lr.PiecewiseDecay([2 * STEPS, 5 * STEPS], [0.1, 0.05, 0.01]),
        ),
        "OneCycleLR": (
            {"max_learning_rate": 0.1, "end_learning_rate": 1e-4},
            paddle_lr.OneCycleLR(0.1, total_steps=total, end_learning_rate=1e-4),
        ),
        "OneCycleLR three phases": (
            {
                "max_learning_rate": 0.1,
                "end_learning_rate": 1e-4,
                "three_phase": True,
                "anneal_strategy": "linear",
            },
            paddle_lr.OneCycleLR(
                0.1,
                total_steps=total,
                end_learning_rate=1e-4,
                three_phase=True,
                anneal_strategy="linear",
            ),
        ),
        **{
            f"Cyclic {mode}": (
                {
                    "base_learning_rate": 0.01,
                    "max_learning_rate": 0.1,
                    "step_size_up": 6,
                    "step_size_down": 9,
                    "mode": mode,
                    "exp_gamma": 0.97,
                },
                paddle_lr.CyclicLR(0.01, 0.1, 6, 9, mode=mode, exp_gamma=0.97),
            )
            for mode in ("triangular", "triangular2", "exp_range")
        },
    }


@pytest.mark.parametrize("case", list(paddle_schedulers()))
def test_equals_paddles_scheduler(case):
    arguments, expected = paddle_schedulers()[case]
    found = rates(build(case.split()[0], **arguments), EPOCHS * STEPS)
    assert found == pytest.approx(rates(expected, EPOCHS * STEPS), rel=1e-9)


def test_equals_paddles_warm_up():
    after = paddle_lr.CosineAnnealingDecay(0.1, T_max=7 * STEPS, eta_min=0.01)
    expected = paddle_lr.LinearWarmup(after, warmup_steps=3 * STEPS, start_lr=1e-4, end_lr=0.1)
    found = build("Cosine", learning_rate=0.1, eta_min=0.01, **WARMUP)
    assert rates(found) == pytest.approx(rates(expected), rel=1e-9)


def test_the_names_of_the_log():
    assert build("Cosine", learning_rate=0.1, **WARMUP).name == "CosineAnnealingDecay"
    assert build("Piecewise", **CURVES["Piecewise"][0]).name == "PiecewiseDecay"


def test_a_fraction_of_an_epoch_of_warm_up():
    schedule = build("Constant", learning_rate=0.1, warmup_epoch=0.5, warmup_start_lr=0.02)
    assert rates(schedule, 5) == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])


@pytest.mark.parametrize("warmup_epoch", [EPOCHS, EPOCHS + 5])
def test_a_warm_up_that_does_not_fit_is_an_error(warmup_epoch):
    with pytest.raises(ConfigError, match=r"Optimizer\.lr\.warmup_epoch.*Global\.epochs = 10"):
        build("Cosine", learning_rate=0.1, warmup_epoch=warmup_epoch)


@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize("warmup", [{}, WARMUP], ids=["no warm-up", "warm-up"])
@pytest.mark.parametrize("name", CURVES)
def test_resumes_exactly(name, warmup, by_epoch):
    arguments = {**CURVES[name][0], **warmup, "by_epoch": by_epoch}
    whole = rates(build(name, **arguments))
    for stop in (1, 11, 3 * STEPS, 40):
        first = build(name, **arguments)
        rates(first, stop)
        second = build(name, **arguments)
        second.set_state_dict(first.state_dict())
        assert rates(second, len(whole) - stop) == whole[stop:]


def test_resuming_follows_the_new_configuration():
    first = build("Cosine", learning_rate=0.1)
    rates(first, 20)
    second = build("Cosine", learning_rate=0.2)
    second.set_state_dict(first.state_dict())
    assert second() == 2 * first()


def test_last_epoch_starts_later():
    whole = rates(build("Cosine", learning_rate=0.1, **WARMUP))
    assert rates(build("Cosine", learning_rate=0.1, last_epoch=24, **WARMUP), 10) == whole[25:35]
    by_epoch = {"learning_rate": 0.1, "by_epoch": True, **WARMUP}
    whole = rates(build("Cosine", **by_epoch))
    assert rates(build("Cosine", last_epoch=4, **by_epoch), 10) == whole[5 * STEPS : 5 * STEPS + 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay_epochs": [3, 6], "values": [0.1, 0.01]}, "3 values, received 2"),
        ({"decay_epochs": [6, 3], "values": [0.1, 0.01, 0.001]}, "ascending"),
        (
            {"decay_epochs": [3], "values": [0.0, 0.01], "learning_rate": 0.2},
            "0.2 cannot be the first rate",
        ),
    ],
)
def test_piecewise_lists_that_do_not_fit(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build("Piecewise", **arguments)


def test_piecewise_accepts_the_learning_rate_of_paddleclas_files():
    arguments = {"decay_epochs": [3], "values": [0.1, 0.01], "learning_rate": 0.1}
    assert build("Piecewise", **arguments)() == 0.1


def test_piecewise_begins_with_the_learning_rate(caplog):
    """As PaddleClas's AlexNet.yaml has it, whose rates are 0.01, 0.001, ..."""
    arguments = {"decay_epochs": [2, 4], "values": [0.1, 0.01, 0.001], "learning_rate": 0.01}
    schedule = build("Piecewise", **arguments)
    assert "the rates are 0.01, 0.001, 0.0001" in caplog.text
    found = rates(schedule, 6 * STEPS)[:: 2 * STEPS]
    np.testing.assert_allclose(found, [0.01, 0.001, 0.0001], rtol=1e-12)


def test_one_cycle_with_no_room_for_a_third_phase():
    with pytest.raises(ConfigError, match="phase_pct"):
        build("OneCycleLR", max_learning_rate=0.1, three_phase=True, phase_pct=0.5)


def test_the_schema_knows_the_keys():
    faults = Faults()
    spec = {"name": "Cosine", "learning_rate": "1e-3", "eta_min": "1e-5", "warmup_epoc": 5}
    checked = check_component("lr", spec, "Optimizer.lr", faults)
    assert checked["learning_rate"] == 1e-3
    assert len(faults.messages) == 1
    assert "Optimizer.lr.warmup_epoc" in faults.messages[0]
    assert "'warmup_epoch'" in faults.messages[0]


def test_drives_a_paddle_optimizer():
    parameter = paddle.create_parameter([1], "float32")
    parameter.set_value(paddle.zeros([1]))
    schedule = build("Linear", learning_rate=0.7)
    optimizer = paddle.optimizer.SGD(learning_rate=schedule, parameters=[parameter])
    total = 0.0
    for _ in range(12):
        total += schedule()
        parameter.sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    assert float(parameter) == pytest.approx(-total, rel=1e-6)
