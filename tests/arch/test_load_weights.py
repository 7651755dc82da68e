"""Loading tensors into models: what fits, what is refused, what is reported."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.weights import load_weights
from ppcls.errors import CheckpointError

SMALL = {
    "name": "DSNet",
    "embed_dim": [8, 8, 8, 8],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
}


def tensors_of(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def test_another_head_is_refused_unless_ignored():
    source = build_model({**SMALL, "class_num": 10})
    model = build_model({**SMALL, "class_num": 4})
    before = tensors_of(model)
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, tensors_of(source), source="some.pdparams")
    message = str(caught.value)
    assert message.startswith("some.pdparams: the tensors do not fit the model: the classifier")
    assert "head.weight (model [8, 4], file [8, 10])" in message
    assert "ignore_head: true" in message
    for name, value in tensors_of(model).items():
        np.testing.assert_array_equal(value, before[name])

    report = load_weights(model, tensors_of(source), ignore_head=True)
    assert report.skipped == ["head.weight", "head.bias"]
    assert report.fits
    for name, value in tensors_of(model).items():
        expected = before if name.startswith("head.") else tensors_of(source)
        np.testing.assert_array_equal(value, expected[name])


def test_another_architecture_is_listed():
    source = build_model({**SMALL, "class_num": 10, "depth": [2, 1, 1, 1]})
    model = build_model({**SMALL, "class_num": 10, "embed_dim": [8, 8, 8, 16]})
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, tensors_of(source))
    message = str(caught.value)
    assert "unknown to the model: blocks1.1." in message
    assert "and 41 more" in message
    assert "patch_embed4.proj.weight (model [16, 8, 2, 2], file [8, 8, 2, 2])" in message
    assert "ignore_head" not in message

    report = load_weights(model, tensors_of(source), strict=False)
    assert "blocks1.0.conv1.weight" in report.loaded
    assert "norm.weight" in report.mismatched
    assert all(name.startswith("blocks1.1.") for name in report.unexpected)
    assert report.missing == []


def test_nothing_in_common_is_never_fine():
    model = build_model({**SMALL, "class_num": 10})
    with pytest.raises(CheckpointError, match="0 tensors fit"):
        load_weights(model, {"x": np.ones(3, np.float32)}, strict=False)


def test_tensors_take_the_type_of_the_model():
    model = build_model({**SMALL, "class_num": 10})
    tensors = {name: value.astype("float16") for name, value in tensors_of(model).items()}
    tensors["head.bias"] = paddle.full([10], 0.5).astype("bfloat16").numpy()
    load_weights(model, tensors)
    assert model.head.weight.dtype == paddle.float32
    np.testing.assert_array_equal(model.head.bias.numpy(), np.full(10, 0.5, np.float32))
