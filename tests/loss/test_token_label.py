"""Token labelling against its formula in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.errors import ConfigError
from ppcls.loss import CombinedLoss
from ppcls.registry import LOSSES

BATCH, SIDE, CLASSES = 4, 3, 5
TOKENS = SIDE * SIDE


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def outputs(rng):
    return {
        "logits": rng.standard_normal((BATCH, CLASSES)).astype("float32"),
        "token_logits": rng.standard_normal((BATCH, TOKENS, CLASSES)).astype("float32"),
    }


def compute(outputs, labels, **arguments):
    loss = LOSSES.build({"TokenLabelLoss": arguments})
    tensors = {name: paddle.to_tensor(value) for name, value in outputs.items()}
    value = loss(tensors, paddle.to_tensor(labels))
    assert value.shape == []
    return float(value)


def cross_entropy(logits, rows):
    """Mean over all but the last axis."""
    logits = logits.astype("float64")
    log_probability = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -(rows * log_probability).sum(axis=-1).mean()


def random_rows(rng, *shape):
    rows = rng.random((*shape, CLASSES))
    return (rows / rows.sum(axis=-1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 1)])
def test_class_numbers_are_the_targets_of_every_token(rng, outputs, shape, epsilon):
    labels = rng.integers(0, CLASSES, shape)
    rows = np.eye(CLASSES)[labels.ravel()]
    if epsilon:
        rows = (1 - epsilon) * rows + epsilon / CLASSES
    expected = cross_entropy(outputs["logits"], rows)
    expected += 0.5 * cross_entropy(outputs["token_logits"], rows[:, None])
    value = compute(outputs, labels, epsilon=epsilon)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_rows_of_mixed_images(rng, outputs):
    rows = random_rows(rng, BATCH)
    expected = cross_entropy(outputs["logits"], rows)
    expected += 0.25 * cross_entropy(outputs["token_logits"], rows[:, None])
    value = compute(outputs, rows, token_weight=0.25)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_dense_targets(rng, outputs):
    labels = random_rows(rng, BATCH, 1 + TOKENS)
    expected = cross_entropy(outputs["logits"], labels[:, 0])
    expected += 0.5 * cross_entropy(outputs["token_logits"], labels[:, 1:])
    np.testing.assert_allclose(compute(outputs, labels), expected, rtol=1e-5)


def test_mixed_tokens_change_the_class_target_alone(rng, outputs):
    rows = random_rows(rng, BATCH)
    mixed = {**outputs, "mix_box": np.array([0, 1, 2, 3])}  # 2 x 2 of 9 tokens
    target = 5 / 9 * rows + 4 / 9 * rows[::-1]
    expected = cross_entropy(outputs["logits"], target)
    expected += 0.5 * cross_entropy(outputs["token_logits"], rows[:, None])
    np.testing.assert_allclose(compute(mixed, rows), expected, rtol=1e-5)
    empty = {**outputs, "mix_box": np.array([1, 1, 1, 3])}
    np.testing.assert_allclose(compute(empty, rows), compute(outputs, rows), rtol=1e-6)


def test_a_model_without_token_logits_is_explained(outputs):
    loss = LOSSES.build("TokenLabelLoss")
    for wrong in (paddle.to_tensor(outputs["logits"]), {"logits": None}):
        with pytest.raises(ConfigError, match="return_dense: true"):
            loss(wrong, paddle.to_tensor([0, 1, 2, 3]))


@pytest.mark.parametrize("mix_token", [False, True])
def test_trains_volo(mix_token):
    paddle.seed(0)
    model = build_model(
        {
            "name": "VOLO",
            "class_num": 2,
            "img_size": 32,
            "layers": [1, 1, 1, 1],
            "embed_dims": [16, 32, 32, 32],
            "num_heads": [2, 4, 4, 4],
            "stem_hidden_dim": 8,
            "return_dense": True,
            "mix_token": mix_token,
        }
    )
    model.train()
    loss = CombinedLoss([{"TokenLabelLoss": {"weight": 1.0, "epsilon": 0.1}}])
    optimizer = paddle.optimizer.AdamW(3e-3, parameters=model.parameters())
    labels = paddle.to_tensor([0, 1, 1, 0, 1, 0])
    offsets = paddle.reshape(paddle.cast(labels, "float32"), [-1, 1, 1, 1])
    # One image for each class: horizontal and vertical stripes.
    stripes = paddle.tile(paddle.to_tensor([1.0, 1.0, -1.0, -1.0]), [8])
    rows, columns = paddle.reshape(stripes, [1, 1, 32, 1]), paddle.reshape(stripes, [1, 1, 1, 32])
    x = offsets * rows + (1 - offsets) * columns + paddle.zeros([6, 3, 32, 32])
    for _ in range(40):
        loss(model(x), labels)["loss"].backward()
        idle = [n for n, p in model.named_parameters() if not p.stop_gradient and p.grad is None]
        assert not idle
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    with paddle.no_grad():
        logits = model(x)
    assert logits.shape == [6, 2]
    np.testing.assert_array_equal(paddle.argmax(logits, axis=1).numpy(), labels.numpy())
