"""`Arch.freeze` and `Arch.linear_probe`."""

import copy

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.errors import ConfigError
from tests.arch.test_contract import TINY

DSNET = {
    "name": "DSNet",
    "class_num": 4,
    "embed_dim": [8, 16, 24, 32],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "downsamples": [4, 2, 1, 1],
    "drop_path_rate": 0.5,
}


def trained_step(model):
    """Values of all tensors before and after a step of gradient descent in training mode."""
    trained = [p for p in model.parameters() if not p.stop_gradient]
    optimizer = paddle.optimizer.SGD(0.1, parameters=trained)
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    model.train()
    outputs = model(paddle.randn([4, 3, 64, 64]))
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    return before, {name: value.numpy() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_frozen_stages_keep_weights_and_statistics():
    model = build_model({**DSNET, "freeze": ["patch_embed1", "blocks1", "blocks2.0.norm1"]})
    moved = changed(*trained_step(model))
    assert not [n for n in moved if n.startswith(("patch_embed1.", "blocks1.", "blocks2.0.norm1."))]
    assert {"blocks2.0.conv1.weight", "blocks2.0.norm2._mean", "head.weight"} <= moved


def test_nothing_is_dropped_in_frozen_layers():
    """With everything frozen, training mode computes what evaluation mode does."""
    model = build_model({**DSNET, "freeze": ["*"]})
    x = paddle.randn([2, 3, 64, 64])
    model.eval()
    expected = model(x).numpy()
    model.train()
    np.testing.assert_array_equal(model(x).numpy(), expected)


@pytest.mark.parametrize("name", ["DSNet", "TransXNet", "DWNet", "VOLO", "SAN"])
def test_linear_probe_trains_the_head_only(name):
    spec = next(spec for spec, _ in TINY.values() if spec["name"] == name)
    model = build_model({**spec, "class_num": 4, "linear_probe": True})
    moved = changed(*trained_step(model))
    assert moved
    assert all(n.startswith(model.head_layers) for n in moved), moved


def test_static_graph_keeps_frozen_statistics():
    model = build_model({**DSNET, "drop_path_rate": 0.0, "freeze": ["blocks1", "patch_embed1"]})
    static = paddle.jit.to_static(copy.deepcopy(model), full_graph=True)
    moved = changed(*trained_step(static))
    assert "blocks2.0.norm1._mean" in moved
    assert not [n for n in moved if n.startswith(("patch_embed1.", "blocks1."))]


def test_unknown_name():
    with pytest.raises(ConfigError, match=r"'block1'; did you mean 'blocks1'\?"):
        build_model({**DSNET, "freeze": ["block1"]})


def test_model_of_paddleclas_says_what_to_do():
    pytest.importorskip("paddleclas")
    with pytest.raises(ConfigError, match=r"Arch\.freeze"):
        build_model({"name": "MobileNetV1_x0_25", "class_num": 4, "linear_probe": True})
