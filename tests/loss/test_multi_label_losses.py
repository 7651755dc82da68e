"""Multi-label losses against their formulas in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.registry import LOSSES

BATCH, CLASSES = 7, 5


@pytest.fixture
def case():
    rng = np.random.default_rng(3)
    logits = 2 * rng.standard_normal((BATCH, CLASSES))
    labels = (rng.random((BATCH, CLASSES)) < 0.4).astype("float64")
    return logits, labels


def evaluate(spec, logits, labels):
    """Value and gradient of a loss."""
    tensor = paddle.to_tensor(logits.astype("float32"), stop_gradient=False)
    value = LOSSES.build(spec)(tensor, paddle.to_tensor(labels.astype("float32")))
    value.backward()
    assert value.shape == []
    return float(value), tensor.grad.numpy()


def numeric_gradient(function, logits, step=1e-6):
    gradient = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = step
        gradient[index] = (function(logits + shift) - function(logits - shift)) / (2 * step)
    return gradient


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def binary_cross_entropy(logits, rows):
    return -rows * np.log(sigmoid(logits)) - (1 - rows) * np.log(1 - sigmoid(logits))


@pytest.mark.parametrize("size_sum", [False, True])
@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_multi_label_loss(case, epsilon, size_sum):
    logits, labels = case
    rows = labels if epsilon is None else 0.9 * labels + 0.1 / CLASSES
    spec = {"MultiLabelLoss": {"epsilon": epsilon, "size_sum": size_sum}}
    value, gradient = evaluate(spec, logits, labels)
    scale = 1 / BATCH if size_sum else 1 / (BATCH * CLASSES)
    np.testing.assert_allclose(value, scale * binary_cross_entropy(logits, rows).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, scale * (sigmoid(logits) - rows), atol=1e-6)


def test_rare_classes_weigh_more(case):
    logits, labels = case
    ratio = np.broadcast_to([0.1, 0.5, 0.9, 0.3, 0.7], labels.shape)
    spec = {"MultiLabelLoss": {"weight_ratio": True, "size_sum": True}}
    value, _ = evaluate(spec, logits, np.stack([labels, ratio], axis=1))
    factor = np.where(labels == 1, np.exp(1 - ratio), np.exp(ratio))
    expected = (factor * binary_cross_entropy(logits, labels)).sum(axis=1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["MultiLabelLoss", "MultiLabelAsymmetricLoss"])
def test_unknown_labels_cost_nothing(case, name):
    logits, labels = case
    labels[1, 2] = labels[4, 0] = -1
    _, gradient = evaluate(name, logits, labels)
    assert gradient[1, 2] == gradient[4, 0] == 0
    assert np.count_nonzero(gradient) >= BATCH * CLASSES - 2 - 5  # clip leaves easy ones out


def test_a_middle_axis_changes_nothing(case):
    logits, labels = case
    for name in ("MultiLabelLoss", "MultiLabelAsymmetricLoss"):
        assert evaluate(name, logits, labels)[0] == evaluate(name, logits, labels[:, None])[0]


def asymmetric(logits, labels, gamma_pos, gamma_neg, clip):
    p = sigmoid(logits)
    q = np.minimum(1 - p + clip, 1)
    positive = -((1 - p) ** gamma_pos) * np.log(p)
    negative = -((1 - q) ** gamma_neg) * np.log(q)
    return np.where(labels == 1, positive, negative).sum()


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_asymmetric_loss(case, clip):
    logits, labels = case
    arguments = {"gamma_pos": 1.0, "gamma_neg": 4.0, "clip": clip}
    spec = {"MultiLabelAsymmetricLoss": {**arguments, "disable_focal_loss_grad": False}}
    value, gradient = evaluate(spec, logits, labels)
    np.testing.assert_allclose(value, asymmetric(logits, labels, **arguments), rtol=1e-5)
    expected = numeric_gradient(lambda x: asymmetric(x, labels, **arguments), logits)
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_asymmetric_loss_without_focus_is_cross_entropy(case):
    logits, labels = case
    spec = {"MultiLabelAsymmetricLoss": {"gamma_pos": 0, "gamma_neg": 0, "clip": None}}
    value, gradient = evaluate(spec, logits, labels)
    np.testing.assert_allclose(value, binary_cross_entropy(logits, labels).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, sigmoid(logits) - labels, atol=1e-5)


def test_class_numbers_are_refused(case):
    logits, _ = case
    with pytest.raises(ConfigError, match="MultiLabelLoss is for images with several classes"):
        LOSSES.build("MultiLabelLoss")(
            paddle.to_tensor(logits), paddle.to_tensor(np.arange(BATCH) % CLASSES)
        )


def test_weight_ratio_without_ratios_says_what_to_set(case):
    logits, labels = case
    with pytest.raises(ConfigError, match="label_ratio: true"):
        evaluate({"MultiLabelLoss": {"weight_ratio": True}}, logits, labels)
