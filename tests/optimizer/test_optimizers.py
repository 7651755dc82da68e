"""Optimizers against their update formulas in NumPy (float64), two steps each."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.config.schema import Faults, check_component
from ppcls.errors import ConfigError
from ppcls.optimizer import build_optimizer
from ppcls.optimizer.weight_decay import WeightDecay
from ppcls.registry import LRS, OPTIMIZERS

RATE, DECAY = 0.05, 0.3
EXEMPTIONS = {"no_weight_decay_name": "norm .cls", "one_dim_param_no_weight_decay": True}


class Model(nn.Layer):
    """Parameters of the kinds that recipes tell apart, with gradients chosen by the test."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([3, 4], default_initializer=nn.initializer.Normal())
        self.bias = self.create_parameter([4], default_initializer=nn.initializer.Normal())
        self.norm_scale = self.create_parameter([1, 4], default_initializer=nn.initializer.Normal())
        self.pos_embed = self.create_parameter([2, 4], default_initializer=nn.initializer.Normal())

    def no_weight_decay(self):
        return {"pos_embed"}


def section(name, **arguments):
    return {"name": name, "lr": {"name": "Constant", "learning_rate": RATE}, **arguments}


def run(spec, gradients, steps=2):
    """Parameters before, and after `steps` steps with the same gradients, as float64 arrays."""
    paddle.seed(5)
    model = Model()
    optimizer, schedule = build_optimizer(spec, model, epochs=1, steps_per_epoch=steps)
    before = arrays(model)
    for _ in range(steps):
        loss = paddle.add_n(
            [(p * paddle.to_tensor(gradients[name])).sum() for name, p in model.named_parameters()]
        )
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    return before, arrays(model)


def arrays(model):
    return {name: p.numpy().astype("float64") for name, p in model.named_parameters()}


@pytest.fixture
def gradients():
    rng = np.random.default_rng(11)
    return {
        name: rng.standard_normal(shape).astype("float32")
        for name, shape in {
            "weight": (3, 4),
            "bias": (4,),
            "norm_scale": (1, 4),
            "pos_embed": (2, 4),
        }.items()
    }


class SgdFormula:
    def __call__(self, w, g):
        return w - RATE * g


class MomentumFormula:
    def __init__(self, nesterov=False):
        self.v, self.nesterov = 0, nesterov

    def __call__(self, w, g):
        self.v = 0.8 * self.v + g
        return w - RATE * (g + 0.8 * self.v if self.nesterov else self.v)


class RmsFormula:
    def __init__(self):
        self.s, self.v = 0, 0

    def __call__(self, w, g):
        self.s = 0.9 * self.s + 0.1 * g**2
        self.v = 0.8 * self.v + RATE * g / np.sqrt(self.s + 1e-3)
        return w - self.v


class AdamFormula:
    def __init__(self, epsilon=1e-3):
        self.m, self.v, self.t, self.epsilon = 0, 0, 0, epsilon

    def direction(self, g):
        self.t += 1
        self.m = 0.8 * self.m + 0.2 * g
        self.v = 0.95 * self.v + 0.05 * g**2
        m, v = self.m / (1 - 0.8**self.t), self.v / (1 - 0.95**self.t)
        return m / (np.sqrt(v) + self.epsilon)

    def __call__(self, w, g):
        return w - RATE * self.direction(g)


ADAM = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
COUPLED = {
    "SGD": ({}, SgdFormula),
    "Momentum": ({"momentum": 0.8}, MomentumFormula),
    "Momentum Nesterov": (
        {"momentum": 0.8, "use_nesterov": True},
        lambda: MomentumFormula(nesterov=True),
    ),
    "RMSProp": ({"momentum": 0.8, "rho": 0.9, "epsilon": 1e-3}, RmsFormula),
    "Adam": (ADAM, AdamFormula),
}


def check(before, after, gradients, make_formula, decayed, term, steps=2):
    """Every parameter moved as its formula says, with `term(w)` added to g where it decays."""
    for name, w in before.items():
        formula = make_formula()
        for _ in range(steps):
            g = gradients[name].astype("float64")
            w = formula(w, g + term(w) if name in decayed else g)
        np.testing.assert_allclose(after[name], w, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("case", COUPLED)
def test_no_decay(case, gradients):
    arguments, formula = COUPLED[case]
    before, after = run(section(case.split()[0], **arguments), gradients)
    check(before, after, gradients, formula, decayed=(), term=None)


@pytest.mark.parametrize(
    ("decay", "term"),
    [
        ({"weight_decay": DECAY}, lambda w: DECAY * w),
        ({"regularizer": {"name": "L2", "coeff": DECAY}}, lambda w: DECAY * w),
        ({"regularizer": {"name": "L1", "coeff": DECAY}}, lambda w: DECAY * np.sign(w)),
    ],
    ids=["weight_decay", "L2", "L1"],
)
@pytest.mark.parametrize("case", COUPLED)
def test_decay_in_the_gradient(case, decay, term, gradients):
    arguments, formula = COUPLED[case]
    before, after = run(section(case.split()[0], **arguments, **decay), gradients)
    # The model lists its position table itself.
    check(before, after, gradients, formula, {"weight", "bias", "norm_scale"}, term)
    before, after = run(section(case.split()[0], **arguments, **decay, **EXEMPTIONS), gradients)
    check(before, after, gradients, formula, {"weight"}, term)


@pytest.mark.parametrize(
    ("exemptions", "decayed"),
    [
        ({}, {"weight", "bias", "norm_scale"}),
        ({"one_dim_param_no_weight_decay": True}, {"weight", "norm_scale"}),
        ({"no_weight_decay_name": "norm bia"}, {"weight"}),
        (EXEMPTIONS, {"weight"}),
    ],
)
def test_adamw_decays_outside_the_gradient(exemptions, decayed, gradients):
    spec = section("AdamW", weight_decay=DECAY, **ADAM, **exemptions)
    before, after = run(spec, gradients)
    for name, w in before.items():
        formula = AdamFormula()
        for _ in range(2):
            if name in decayed:
                w = w * (1 - RATE * DECAY)
            w = formula(w, gradients[name].astype("float64"))
        np.testing.assert_allclose(after[name], w, rtol=2e-5, atol=2e-6, err_msg=name)


def test_adamw_without_weight_decay_does_not_decay(gradients):
    before, after = run(section("AdamW", **ADAM), gradients)
    check(before, after, gradients, AdamFormula, decayed=(), term=None)


def test_lamb(gradients):
    before, after = run(section("Lamb", weight_decay=DECAY, **ADAM, **EXEMPTIONS), gradients)
    for name, w in before.items():
        formula = AdamFormula()
        for _ in range(2):
            step = formula.direction(gradients[name].astype("float64"))
            if name == "weight":
                step = step + DECAY * w
                step = step * np.linalg.norm(w) / np.linalg.norm(step)
            w = w - RATE * step
        np.testing.assert_allclose(after[name], w, rtol=2e-5, atol=2e-6, err_msg=name)


def test_clip_norm_clips_each_gradient(gradients):
    gradients["bias"] *= 0.01
    before, after = run(section("SGD", clip_norm=0.5), gradients, steps=1)
    for name, w in before.items():
        norm = np.linalg.norm(gradients[name])
        expected = w - RATE * gradients[name] * min(1, 0.5 / norm)
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exemptions", [{}, EXEMPTIONS])
def test_clip_grad_clips_all_together(exemptions, gradients):
    spec = section("SGD", clip_grad=0.5, weight_decay=DECAY, **exemptions)
    before, after = run(spec, gradients, steps=1)
    decayed = {"weight"} if exemptions else {"weight", "bias", "norm_scale"}
    norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradients.values()))
    for name, w in before.items():
        g = gradients[name] * (0.5 / norm) + (DECAY * w if name in decayed else 0)
        np.testing.assert_allclose(after[name], w - RATE * g, rtol=1e-5, atol=1e-6)


def test_the_float32_copy_of_an_exempt_parameter_is_exempt():
    """With `master_grad` Paddle hands the copy, which has a name of its own, to the decay."""
    weight_decay = WeightDecay(DECAY, exempt=frozenset({"linear_1.b_0"}))
    assert not weight_decay.applies_to("linear_1.b_0")
    assert not weight_decay.applies_to("linear_1.b_0_fp32_master_0")
    assert weight_decay.applies_to("linear_1.w_0_fp32_master_0")


@pytest.mark.parametrize("name", ["SGD", "Momentum", "RMSProp", "Adam", "AdamW", "Lamb"])
def test_resumes_exactly(name, gradients):
    """Three steps, state saved and loaded into fresh objects, three more: as six in one go."""

    def start():
        paddle.seed(5)
        model = Model()
        spec = section(name, weight_decay=DECAY)
        spec["lr"] = {"name": "Cosine", "learning_rate": RATE, "warmup_epoch": 1}
        return (model, *build_optimizer(spec, model, epochs=3, steps_per_epoch=2))

    def advance(model, optimizer, schedule, steps):
        for _ in range(steps):
            for key, parameter in model.named_parameters():
                (parameter**2 * paddle.to_tensor(gradients[key])).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()

    # The guards give each part the tensor names of a process of its own; Paddle keys by them.
    with paddle.utils.unique_name.guard():
        model, optimizer, schedule = start()
        advance(model, optimizer, schedule, 6)
        whole = arrays(model)
    with paddle.utils.unique_name.guard():
        first, first_optimizer, first_schedule = start()
        advance(first, first_optimizer, first_schedule, 3)
    with paddle.utils.unique_name.guard():
        model, optimizer, schedule = start()
        model.set_state_dict(first.state_dict())
        optimizer.set_state_dict(first_optimizer.state_dict())
        assert schedule() == first_schedule()
        advance(model, optimizer, schedule, 3)
    for key, value in arrays(model).items():
        np.testing.assert_array_equal(value, whole[key], err_msg=key)


def test_the_rate_follows_the_schedule():
    spec = section("SGD")
    spec["lr"] = {"name": "Piecewise", "decay_epochs": [1], "values": [0.1, 0.01]}
    optimizer, schedule = build_optimizer(spec, Model(), epochs=2, steps_per_epoch=2)
    seen = []
    for _ in range(4):
        seen.append(optimizer.get_lr())
        schedule.step()
    assert seen == [0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": 0.1, "regularizer": {"name": "L2", "coeff": 0.1}}, "regularizer"),
        ({"clip_norm": 1.0, "clip_grad": 1.0}, "clip_norm"),
    ],
)
def test_keys_that_contradict_each_other(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_optimizer(section("Momentum", **arguments), Model(), epochs=1, steps_per_epoch=1)


PADDLECLAS_SECTIONS = [
    # ResNet50
    {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {
            "name": "Piecewise",
            "decay_epochs": [30, 60, 90],
            "values": [0.1, 0.01, 0.001, 0.0001],
        },
        "regularizer": {"name": "L2", "coeff": 0.0001},
    },
    # DSNet_tiny; YAML reads 1e-8 as text
    {
        "name": "AdamW",
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": "1e-8",
        "weight_decay": 0.05,
        "no_weight_decay_name": "norm cls_token pos_embed dist_token",
        "one_dim_param_no_weight_decay": True,
        "lr": {
            "name": "Cosine",
            "learning_rate": "1e-3",
            "eta_min": "1e-5",
            "warmup_epoch": 5,
            "warmup_start_lr": "1e-6",
        },
    },
    # EfficientNetB0
    {
        "name": "RMSProp",
        "momentum": 0.9,
        "rho": 0.9,
        "epsilon": 0.001,
        "lr": {"name": "Cosine", "learning_rate": 0.032, "warmup_epoch": 5},
        "regularizer": {"name": "L2", "coeff": 0.00001},
    },
]


@pytest.mark.parametrize("spec", PADDLECLAS_SECTIONS, ids=lambda spec: spec["name"])
def test_sections_of_paddleclas_files(spec):
    faults = Faults()
    checked = check_component("optimizer", spec, "Optimizer", faults)
    assert faults.messages == []
    optimizer, schedule = build_optimizer(checked, Model(), epochs=120, steps_per_epoch=10)
    assert type(optimizer).__name__ == spec["name"]
    assert schedule() >= 0


def test_the_schema_finds_all_faults():
    faults = Faults()
    spec = {
        "name": "AdamW",
        "beta1": 1.5,
        "weight_decai": 0.05,
        "regularizer": {"name": "L2", "coeff": 1},
        "lr": {"name": "Cosin"},
    }
    check_component("optimizer", spec, "Optimizer", faults)
    paths = {message.partition(":")[0] for message in faults.messages}
    assert paths == {
        "Optimizer.beta1",
        "Optimizer.weight_decai",
        "Optimizer.regularizer",
        "Optimizer.lr.name",
    }


def test_lr_is_required():
    faults = Faults()
    check_component("optimizer", {"name": "SGD"}, "Optimizer", faults)
    assert faults.messages == ["Optimizer.lr: required key is missing"]


@pytest.mark.parametrize("registry", [LRS, OPTIMIZERS], ids=lambda registry: registry.kind)
def test_every_component_says_what_it_computes(registry):
    for name in registry.names():
        assert registry.get(name).__doc__
