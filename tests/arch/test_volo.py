"""VOLO: golden values, published counts, windows, position tables, mixing, options, errors."""

import pytest

from ppcls.arch import build_model
from tests.arch import golden

NANO = {
    "name": "VOLO",
    "class_num": 10,
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [32, 64, 64, 64],
    "num_heads": [2, 4, 4, 4],
    "stem_hidden_dim": 16,
    "drop_path_rate": 0.0,
}
FIXTURES = {"volo_nano": NANO, "volo_d1": {"name": "VOLO_D1", "drop_path_rate": 0.0}}


@pytest.fixture(params=FIXTURES)
def fixture(request, shared_dir):
    return golden.load_fixture(shared_dir, request.param)


def build_golden(fixture, **extra):
    model = build_model({**FIXTURES[fixture["name"]], **extra})
    golden.load_golden_weights(model, fixture)
    return model


def test_golden_logits(fixture):
    golden.check_eval_logits(build_golden(fixture), fixture)


def test_golden_logits_float64(fixture):
    golden.check_eval_logits_float64(lambda: build_model(FIXTURES[fixture["name"]]), fixture)


def test_golden_gradients(fixture):
    golden.check_gradients(build_golden(fixture), fixture)


def test_golden_train_mode(fixture):
    golden.check_train_mode(
        build_golden(fixture, return_dense=True),
        fixture,
        lambda outputs: {"x_cls": outputs["logits"], "x_aux": outputs["token_logits"]},
    )
