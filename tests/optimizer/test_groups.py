"""Layer-wise learning rates and groups of parameters."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch import build_model
from ppcls.config.schema import Faults, check_component
from ppcls.errors import ConfigError
from ppcls.optimizer import build_optimizer
from ppcls.optimizer.layer_depth import distances_to_output
from tests.optimizer.test_optimizers import (
    ADAM,
    DECAY,
    RATE,
    AdamFormula,
    Model,
    arrays,
    section,
)
from tests.optimizer.test_optimizers import run as run_plain


class Block(nn.Layer):
    """Two layers and a norm, in a list of its own, which is no list of blocks."""

    def __init__(self):
        super().__init__()
        self.table = self.create_parameter([4, 4])
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))

    def forward(self, x):
        return x + self.body(paddle.matmul(x, self.table))


class Stage(nn.Layer):
    def __init__(self, depth):
        super().__init__()
        self.blocks = nn.LayerList([Block() for _ in range(depth)])
        self.reduction = nn.Linear(4, 4)
        self.bias = self.create_parameter([4])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.reduction(x) + self.bias


class Network(nn.Layer):
    """Defines its layers in another order than it calls them."""

    head_layers = ("classifier", "helper")

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(4)
        self.stages = nn.LayerList([Stage(1), Stage(2)])
        self.embed = nn.Linear(4, 4)
        self.position = self.create_parameter([1, 4])
        self.helper = nn.Linear(4, 3)

    def forward(self, x):
        x = self.embed(x) + self.position
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.norm(x))


#: Layers after the one that holds these.
DISTANCES = {
    "position": 6,
    "embed.weight": 6,
    "embed.bias": 6,
    "stages.0.blocks.0.table": 5,
    "stages.0.blocks.0.body.0.weight": 5,
    "stages.0.blocks.0.body.1.bias": 5,
    "stages.0.bias": 5,
    "stages.0.reduction.weight": 4,
    "stages.1.blocks.0.table": 3,
    "stages.1.bias": 3,
    "stages.1.blocks.1.body.0.bias": 2,
    "stages.1.reduction.bias": 1,
    "norm.weight": 0,
    "classifier.weight": 0,
    "helper.weight": 0,
}


def test_layers_are_counted_as_they_are_called():
    model = Network()
    distances = distances_to_output(model, (2, 4))
    assert distances.keys() == dict(model.named_parameters()).keys()
    assert {name: distances[name] for name in DISTANCES} == DISTANCES
    assert model.training


def test_layers_that_are_not_trained_do_not_count():
    model = Network()
    for parameter in model.stages[0].parameters():
        parameter.stop_gradient = True
    distances = distances_to_output(model, (2, 4))
    assert distances["embed.weight"] == 4
    assert not any(name.startswith("stages.0") for name in distances)


@pytest.mark.parametrize(
    ("name", "count", "shallow", "last"),
    [
        ("DSNet_tiny", 14, "patch_embed1.proj.weight", "norm.weight"),
        ("TransXNet_T", 23, "relative_pos_enc.3", "classifier.0.weight"),
        ("DWNet_tiny", 17, "patch_embed.norm.weight", "norm.bias"),
        ("VOLO_D1", 23, "pos_embed", "aux_head.weight"),
        ("SAN10_pairwise", 17, "conv_in.weight", "bn4.weight"),
    ],
)
def test_layers_of_the_families(name, count, shallow, last):
    """Blocks, the patch embeddings or transitions between them, and the head with its norm."""
    model = build_model({"name": name, "class_num": 2})
    size = {"VOLO_D1": 224, "SAN10_pairwise": 128}.get(name, 64)
    distances = distances_to_output(model, (3, size, size))
    assert sorted(set(distances.values())) == [*range(count)]
    assert distances[shallow] == count - 1
    assert distances[last] == 0
    assert len(distances) == sum(not p.stop_gradient for p in model.parameters())


def test_models_of_a_distillation_are_counted_apart():
    size = {"embed_dim": [8, 8, 8, 8], "depth": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
    models = [{key: {"name": "DSNet", "class_num": 2, **size}} for key in ("Teacher", "Student")]
    model = build_model({"name": "DistillationModel", "models": models})
    distances = distances_to_output(model, (3, 32, 32))
    for key in ("Teacher", "Student"):
        assert distances[f"{key}.patch_embed1.proj.weight"] == 8
        assert distances[f"{key}.head.weight"] == 0


def test_an_image_that_the_model_does_not_take():
    with pytest.raises(ConfigError, match=r"layer_decay: .*Global\.image_shape = \[2, 5\]"):
        distances_to_output(Network(), (2, 5))


def train(spec, steps=2):
    """Parameters of a Network before and after steps of gradients that are all one."""
    paddle.seed(3)
    model = Network()
    optimizer, schedule = build_optimizer(
        spec, model, epochs=1, steps_per_epoch=steps, image_shape=(2, 4)
    )
    before = arrays(model)
    for _ in range(steps):
        paddle.add_n([parameter.sum() for parameter in model.parameters()]).backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    return before, arrays(model)


def test_layer_decay_scales_the_rates():
    before, after = train(section("SGD", layer_decay=0.5))
    for name, distance in DISTANCES.items():
        expected = before[name] - 2 * RATE * 0.5**distance
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


GROUPS = [
    {"names": ["norm*"], "lr_mult": 2.0, "weight_decay": 7.0},
    {"names": ["weight"], "weight_decay": 0.7},
    {"names": ["*"], "lr_mult": 0.5},
]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lamb"])
def test_groups_have_rates_and_decay_of_their_own(name):
    """The first group that names a parameter counts; what does not decay does not by a group."""
    rng = np.random.default_rng(1)
    gradients = {n: rng.standard_normal(p.shape).astype("f4") for n, p in arrays(Model()).items()}
    own = {} if name == "SGD" else ADAM
    spec = section(name, weight_decay=DECAY, no_weight_decay_name="norm", groups=GROUPS, **own)
    before, after = run_plain(spec, gradients)
    rates = {"weight": 1.0, "bias": 0.5, "norm_scale": 2.0, "pos_embed": 0.5}
    strengths = {"weight": 0.7, "bias": DECAY, "norm_scale": 0.0, "pos_embed": 0.0}
    for key, w in before.items():
        formula, rate, strength = AdamFormula(), RATE * rates[key], strengths[key]
        for _ in range(2):
            g = gradients[key].astype("float64")
            if name == "SGD":
                w = w - rate * (g + strength * w)
            elif name == "AdamW":
                w = w * (1 - rate * strength) - rate * formula.direction(g)
            else:
                step = formula.direction(g) + strength * w
                if strength:
                    step = step * np.linalg.norm(w) / np.linalg.norm(step)
                w = w - rate * step
        np.testing.assert_allclose(after[key], w, rtol=2e-5, atol=2e-6, err_msg=key)


def test_a_group_within_decayed_layers():
    """Both factors count; gradients are clipped over all parameters together."""
    groups = [{"names": ["stages.1"], "lr_mult": 3.0}]
    before, after = train(section("SGD", layer_decay=0.5, groups=groups, clip_grad=0.1), steps=1)
    norm = np.sqrt(sum(value.size for value in before.values()))
    for name, distance in DISTANCES.items():
        rate = RATE * 0.5**distance * (3.0 if name.startswith("stages.1.") else 1.0)
        expected = before[name] - rate * 0.1 / norm
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_the_rates_that_a_model_sets_itself_count_too():
    model = nn.Linear(2, 2, weight_attr=paddle.ParamAttr(learning_rate=0.1))
    build_optimizer(
        section("SGD", groups=[{"names": ["*"], "lr_mult": 0.5}]), model, 1, steps_per_epoch=1
    )
    assert model.weight.optimize_attr["learning_rate"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [{"names": ["wieght"]}],
            r"groups\.0\.names\.0: no layer .*'wieght'; did you mean 'weight'",
        ),
        ([{"names": ["bias"]}, {"names": ["bias"]}], r"groups\.1\.names\.0: .*belongs to groups"),
        ([{"names": ["weight", "pos_embed"]}], r"groups\.0\.names\.1: nothing that 'pos_embed'"),
    ],
)
def test_groups_that_name_nothing(groups, message):
    model = Model()
    model.pos_embed.stop_gradient = True
    with pytest.raises(ConfigError, match=message):
        build_optimizer(section("SGD", groups=groups), model, epochs=1, steps_per_epoch=1)


def test_a_groups_decay_and_a_regularizer():
    spec = section(
        "Momentum",
        regularizer={"name": "L2", "coeff": 0.1},
        groups=[{"names": ["bias"], "weight_decay": 0.1}],
    )
    with pytest.raises(ConfigError, match=r"groups .* Optimizer\.weight_decay in place"):
        build_optimizer(spec, Model(), epochs=1, steps_per_epoch=1)


def test_the_schema_of_groups():
    faults = Faults()
    spec = section(
        "SGD", layer_decay=1.5, groups=[{"name": ["a"]}, {"names": ["a"], "lr_mult": -1}]
    )
    check_component("optimizer", spec, "Optimizer", faults)
    assert {message.partition(":")[0] for message in faults.messages} == {
        "Optimizer.layer_decay",
        "Optimizer.groups.0.name",
        "Optimizer.groups.0.names",
        "Optimizer.groups.1.lr_mult",
    }
