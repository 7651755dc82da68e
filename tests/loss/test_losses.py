"""Losses against their formulas in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.loss import CombinedLoss
from ppcls.registry import LOSSES

BATCH, CLASSES = 6, 5


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def logits(rng):
    return (3 * rng.standard_normal((BATCH, CLASSES))).astype("float32")


def make_labels(rng, soft):
    hard = rng.integers(0, CLASSES, BATCH)
    rows = np.eye(CLASSES)[hard]
    if not soft:
        return hard, rows
    # What Mixup makes of two label rows.
    rows = (0.7 * rows + 0.3 * np.roll(rows, 1, axis=0)).astype("float32")
    return rows, rows.astype("float64")


def log_softmax(logits):
    shifted = logits.astype("float64") - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def smooth(rows, epsilon):
    return (1 - epsilon) * rows + epsilon / CLASSES if epsilon else rows


def value_and_gradient(loss, logits, labels):
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(labels))
    value.backward()
    assert value.shape == []
    return float(value), tensor.grad.numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("epsilon", [None, 0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy(rng, logits, soft, epsilon, reduction):
    labels, rows = make_labels(rng, soft)
    loss = LOSSES.build({"CELoss": {"epsilon": epsilon, "reduction": reduction}})
    value, gradient = value_and_gradient(loss, logits, labels)
    rows = smooth(rows, epsilon)
    scale = 1 / BATCH if reduction == "mean" else 1
    np.testing.assert_allclose(value, -scale * (rows * log_softmax(logits)).sum(), rtol=1e-5)
    expected = scale * (np.exp(log_softmax(logits)) - rows)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_cross_entropy_accepts_a_column_of_class_numbers(rng, logits):
    labels, _ = make_labels(rng, soft=False)
    loss = LOSSES.build("CELoss")
    flat = loss(paddle.to_tensor(logits), paddle.to_tensor(labels))
    column = loss(paddle.to_tensor(logits), paddle.to_tensor(labels[:, None]))
    assert float(flat) == float(column)


def test_cross_entropy_of_bfloat16_logits_is_computed_in_float32(rng, logits):
    labels, _ = make_labels(rng, soft=False)
    loss = LOSSES.build("CELoss")
    halves = paddle.to_tensor(logits).astype("bfloat16")
    value = loss(halves, paddle.to_tensor(labels))
    assert value.dtype == paddle.float32
    assert float(value) == float(loss(halves.astype("float32"), paddle.to_tensor(labels)))


@pytest.mark.parametrize("make", [lambda x: {"logits": x, "aux": x * 2}, lambda x: (x, x * 2)])
def test_a_model_with_several_outputs(rng, logits, make):
    labels, _ = make_labels(rng, soft=False)
    loss = LOSSES.build("CELoss")
    tensor, labels = paddle.to_tensor(logits), paddle.to_tensor(labels)
    assert float(loss(make(tensor), labels)) == float(loss(tensor, labels))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(rng, logits, soft, gamma):
    labels, rows = make_labels(rng, soft)
    value, gradient = value_and_gradient(
        LOSSES.build({"FocalLoss": {"gamma": gamma}}), logits, labels
    )
    log_p = log_softmax(logits)
    expected = -(rows * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_focal_of_a_certain_prediction_has_a_finite_gradient():
    certain = np.array([[100.0, 0.0, 0.0]], dtype="float32")
    loss = LOSSES.build({"FocalLoss": {"gamma": 0.5}})
    _, gradient = value_and_gradient(loss, certain, np.array([0]))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_binary_cross_entropy(rng, logits, soft, epsilon):
    labels, rows = make_labels(rng, soft)
    value, gradient = value_and_gradient(
        LOSSES.build({"BCELoss": {"epsilon": epsilon}}), logits, labels
    )
    rows = smooth(rows, epsilon)
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    expected = -(rows * np.log(p) + (1 - rows) * np.log(1 - p)).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, (p - rows) / rows.size, atol=1e-6)


def test_combined_weighs_and_names_the_parts(rng, logits):
    labels, _ = make_labels(rng, soft=False)
    combined = CombinedLoss(
        [{"CELoss": {"weight": 0.5}}, {"BCELoss": None}, {"CELoss": {"weight": 2, "epsilon": 0.1}}]
    )
    tensor, labels = paddle.to_tensor(logits), paddle.to_tensor(labels)
    parts = combined(tensor, labels)
    assert list(parts) == ["CELoss", "BCELoss", "CELoss_2", "loss"]
    plain = float(LOSSES.build("CELoss")(tensor, labels))
    smoothed = float(LOSSES.build({"CELoss": {"epsilon": 0.1}})(tensor, labels))
    binary = float(LOSSES.build("BCELoss")(tensor, labels))
    np.testing.assert_allclose(float(parts["CELoss"]), 0.5 * plain, rtol=1e-6)
    np.testing.assert_allclose(float(parts["CELoss_2"]), 2 * smoothed, rtol=1e-6)
    np.testing.assert_allclose(float(parts["loss"]), 0.5 * plain + binary + 2 * smoothed, rtol=1e-6)


def test_the_weight_of_a_lone_loss_counts(rng, logits):
    labels, _ = make_labels(rng, soft=False)
    tensor, labels = paddle.to_tensor(logits), paddle.to_tensor(labels)
    parts = CombinedLoss([{"CELoss": {"weight": 0.25}}])(tensor, labels)
    plain = float(LOSSES.build("CELoss")(tensor, labels))
    np.testing.assert_allclose(float(parts["loss"]), 0.25 * plain, rtol=1e-6)


def test_an_unknown_loss_names_the_closest():
    with pytest.raises(ConfigError, match="did you mean 'CELoss'"):
        CombinedLoss([{"CEloss1": {}}])


CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0])


@pytest.mark.parametrize("name", ["CELoss", "FocalLoss"])
@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_class_weights_make_a_weighted_mean(rng, logits, name, soft, epsilon):
    labels, rows = make_labels(rng, soft)
    arguments = {"epsilon": epsilon, "class_weight": CLASS_WEIGHTS.tolist()}
    loss = LOSSES.build({name: arguments})
    value, gradient = value_and_gradient(loss, logits, labels)
    log_p = log_softmax(logits)
    costs = -log_p if name == "CELoss" else -((1 - np.exp(log_p)) ** 2) * log_p
    weights = CLASS_WEIGHTS * smooth(rows, epsilon)
    np.testing.assert_allclose(value, (weights * costs).sum() / weights.sum(), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_class_weights_of_hard_labels_as_in_paddle(rng, logits):
    labels, _ = make_labels(rng, soft=False)
    loss = LOSSES.build({"CELoss": {"class_weight": CLASS_WEIGHTS.tolist()}})
    value, _ = value_and_gradient(loss, logits, labels)
    expected = paddle.nn.functional.cross_entropy(
        paddle.to_tensor(logits),
        paddle.to_tensor(labels),
        weight=paddle.to_tensor(CLASS_WEIGHTS, dtype="float32"),
    )
    np.testing.assert_allclose(value, float(expected), rtol=1e-5)


def test_balanced_classes_count_alike(rng, logits):
    train_labels = np.array([0, 0, 0, 0, 1, 1, 2, 4])
    balanced = CombinedLoss([{"CELoss": {"class_weight": "balanced"}}])
    balanced.prepare(train_labels, CLASSES)
    explicit = CombinedLoss([{"CELoss": {"class_weight": [0.5, 1.0, 2.0, 0.0, 2.0]}}])
    explicit.prepare(train_labels, CLASSES)
    labels = paddle.to_tensor(np.array([0, 1, 2, 4, 0, 1]))
    logits = paddle.to_tensor(logits)
    assert float(balanced(logits, labels)["loss"]) == float(explicit(logits, labels)["loss"])


def test_class_weights_that_cannot_be():
    short = LOSSES.build({"FocalLoss": {"class_weight": [1.0, 2.0]}})
    with pytest.raises(ConfigError, match=r"FocalLoss\.class_weight: 2 numbers for 5 classes"):
        short.prepare(np.array([0, 1]), CLASSES)
    balanced = LOSSES.build({"CELoss": {"class_weight": "balanced"}})
    for labels in (None, np.zeros((4, CLASSES))):
        with pytest.raises(ConfigError, match=r"CELoss\.class_weight: `balanced` counts"):
            balanced.prepare(labels, CLASSES)
    with pytest.raises(ConfigError, match="leave out reduction: sum"):
        LOSSES.build({"CELoss": {"class_weight": [1.0], "reduction": "sum"}})


def test_options_of_binary_cross_entropy(rng, logits):
    labels, rows = make_labels(rng, soft=True)
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    loss = LOSSES.build({"BCELoss": {"target_threshold": 0.5, "sum_classes": True}})
    value, _ = value_and_gradient(loss, logits, labels)
    hard = (rows > 0.5).astype("float64")
    expected = -(hard * np.log(p) + (1 - hard) * np.log(1 - p)).sum(axis=1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)

    for factor in (3.0, [1.0, 2.0, 3.0, 4.0, 5.0]):
        value, _ = value_and_gradient(
            LOSSES.build({"BCELoss": {"pos_weight": factor}}), logits, labels
        )
        expected = -(factor * rows * np.log(p) + (1 - rows) * np.log(1 - p)).mean()
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_googlenet(rng, logits, soft):
    labels, rows = make_labels(rng, soft)
    heads = [logits, logits[::-1].copy(), -logits]
    value = LOSSES.build("GoogLeNetLoss")(
        [paddle.to_tensor(head) for head in heads], paddle.to_tensor(labels)
    )
    parts = [-(rows * log_softmax(head)).sum(axis=1).mean() for head in heads]
    np.testing.assert_allclose(float(value), parts[0] + 0.3 * (parts[1] + parts[2]), rtol=1e-5)


def test_googlenet_loss_of_another_model(logits):
    with pytest.raises(ConfigError, match="auxiliary classifiers"):
        LOSSES.build("GoogLeNetLoss")(paddle.to_tensor(logits), paddle.zeros([BATCH], "int64"))


def test_soft_target_cross_entropy(rng, logits):
    rows = rng.dirichlet(np.ones(CLASSES), BATCH)
    shifted = logits.astype("float64") - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = LOSSES.build({"SoftTargetCrossEntropy": {"weight": 1.0}})
    result = loss(paddle.to_tensor(logits), paddle.to_tensor(rows.astype("float32")))
    assert float(result) == pytest.approx(-(rows * log_p).sum(1).mean(), rel=1e-5)
