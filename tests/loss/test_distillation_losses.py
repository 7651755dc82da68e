"""Distillation losses against the formulas of their papers, in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.registry import LOSSES

BATCH, CLASSES = 6, 5
PAIRS = [["Student", "Teacher"]]


@pytest.fixture
def case():
    rng = np.random.default_rng(5)
    student, teacher = 2 * rng.standard_normal((2, BATCH, CLASSES))
    return student, teacher, rng.integers(0, CLASSES, BATCH)


def evaluate(spec, student, teacher, labels):
    """Value of a loss, and its gradients of the student's and the teacher's output."""
    tensors = [
        paddle.to_tensor(array.astype("float32"), stop_gradient=False)
        for array in (student, teacher)
    ]
    outputs = {"Student": tensors[0], "Teacher": tensors[1], "logits": tensors[0]}
    value = LOSSES.build(spec)(outputs, paddle.to_tensor(labels))
    value.backward()
    assert value.shape == []
    return float(value), *(None if t.grad is None else t.grad.numpy() for t in tensors)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def cross_entropy(p, q):
    return -(p * np.log(q)).sum(axis=-1)


def numeric_gradient(function, x, step=1e-6):
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def dkd(s, t, labels, temperature, alpha, beta):
    p, q = softmax(t / temperature), softmax(s / temperature)
    right = np.eye(CLASSES, dtype=bool)[labels]
    target, rest = 0.0, 0.0
    for b in range(len(labels)):
        one, other = p[b][right[b]], q[b][right[b]]
        target += kl(np.append(one, 1 - one), np.append(other, 1 - other))
        ones, others = p[b][~right[b]], q[b][~right[b]]
        rest += kl(ones / ones.sum(), others / others.sum())
    return temperature**2 * (alpha * target + beta * rest) / len(labels)


def dist(s, t, labels, beta, gamma):
    p, q = softmax(s), softmax(t)
    between = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q)])
    within = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T)])
    return beta * between + gamma * within


def wsl(s, t, labels, temperature):
    rows = np.eye(CLASSES)[labels]
    ratio = cross_entropy(rows, softmax(s)) / cross_entropy(rows, softmax(t))
    costs = cross_entropy(softmax(t / temperature), softmax(s / temperature))
    return temperature**2 * ((1 - np.exp(-ratio)) * costs).mean()


def skd(s, t, labels, temperature, multiplier, alpha):
    def sphere(x):
        return multiplier * (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)

    s, t = sphere(s), sphere(t)
    distilled = cross_entropy(softmax(t / temperature), softmax(s / temperature)).mean()
    true = cross_entropy(np.eye(CLASSES)[labels], softmax(s)).mean()
    return alpha * temperature**2 * distilled + (1 - alpha) * true


def huber(x, delta):
    return np.where(np.abs(x) < delta, x**2 / 2, delta * np.abs(x) - delta**2 / 2).mean()


#: name, arguments, formula of (student, teacher, labels).
FORMULAS = {
    "hard labels": (
        "DistillationCELoss",
        {"use_hard_label": True},
        lambda s, t, y: cross_entropy(np.eye(CLASSES)[t.argmax(1)], softmax(s)).mean(),
    ),
    "soft labels": (
        "DistillationCELoss",
        {},
        lambda s, t, y: cross_entropy(softmax(t), softmax(s)).mean(),
    ),
    "smooth labels": (
        "DistillationCELoss",
        {"epsilon": 0.1},
        lambda s, t, y: cross_entropy(0.9 * softmax(t) + 0.1 / CLASSES, softmax(s)).mean(),
    ),
    "Hinton": (
        "DistillationKLDivLoss",
        {"temperature": 4},
        lambda s, t, y: 16 * kl(softmax(t / 4), softmax(s / 4)).mean(),
    ),
    "DKD": (
        "DistillationDKDLoss",
        {"temperature": 2.0, "alpha": 1.5, "beta": 3.0},
        lambda s, t, y: dkd(s, t, y, 2.0, 1.5, 3.0),
    ),
    "DKD, teacher's class": (
        "DistillationDKDLoss",
        {"use_target_as_gt": True},
        lambda s, t, y: dkd(s, t, t.argmax(1), 1.0, 1.0, 1.0),
    ),
    "DIST": (
        "DistillationDISTLoss",
        {"beta": 2.0, "gamma": 0.5},
        lambda s, t, y: dist(s, t, y, 2.0, 0.5),
    ),
    "SKD": (
        "DistillationSKDLoss",
        {"temperature": 1.5, "multiplier": 2.0, "alpha": 0.9},
        lambda s, t, y: skd(s, t, y, 1.5, 2.0, 0.9),
    ),
    "l1": (
        "DistillationDistanceLoss",
        {"mode": "l1"},
        lambda s, t, y: np.abs(s - t).mean(),
    ),
    "l2 of probabilities": (
        "DistillationDistanceLoss",
        {"mode": "l2", "act": "softmax"},
        lambda s, t, y: ((softmax(s) - softmax(t)) ** 2).mean(),
    ),
    "smooth l1": (
        "DistillationDistanceLoss",
        {"mode": "smooth_l1", "delta": 0.7},
        lambda s, t, y: huber(s - t, 0.7),
    ),
}


@pytest.mark.parametrize("case_name", FORMULAS)
def test_value_and_gradient(case, case_name):
    name, arguments, formula = FORMULAS[case_name]
    spec = {name: {"model_name_pairs": PAIRS, **arguments}}
    value, gradient, of_teacher = evaluate(spec, *case)
    student, teacher, labels = case
    np.testing.assert_allclose(value, formula(*case), rtol=2e-5)
    expected = numeric_gradient(lambda s: formula(s, teacher, labels), student)
    np.testing.assert_allclose(gradient, expected, atol=2e-5)
    if name != "DistillationDistanceLoss":
        assert of_teacher is None


def test_weighted_soft_labels(case):
    student, teacher, labels = case
    spec = {"DistillationWSLLoss": {"model_name_pairs": PAIRS, "temperature": 2}}
    value, gradient, of_teacher = evaluate(spec, *case)
    np.testing.assert_allclose(value, wsl(student, teacher, labels, 2.0), rtol=1e-5)
    assert of_teacher is None
    # The weights of the samples are constants.
    rows = np.eye(CLASSES)[labels]
    ratio = cross_entropy(rows, softmax(student)) / cross_entropy(rows, softmax(teacher))
    difference = softmax(student / 2) - softmax(teacher / 2)
    expected = 2 * (1 - np.exp(-ratio))[:, None] * difference / BATCH
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_mutual_learning(case):
    student, teacher, _ = case
    p, q = softmax(student), softmax(teacher)
    value, *gradients = evaluate({"DistillationDMLLoss": {"model_name_pairs": PAIRS}}, *case)
    np.testing.assert_allclose(value, (kl(p, q) + kl(q, p)).mean() / 2, rtol=1e-5)
    # Each learns from the other as from a constant: d KL(q || p) / d student = p - q.
    np.testing.assert_allclose(gradients[0], (p - q) / (2 * BATCH), atol=1e-6)
    np.testing.assert_allclose(gradients[1], (q - p) / (2 * BATCH), atol=1e-6)


def test_mutual_learning_of_several_labels(case):
    student, teacher, _ = case
    rng = np.random.default_rng(0)
    rows = (rng.random((BATCH, CLASSES)) < 0.4).astype("float32")
    ratio = np.broadcast_to(rng.random(CLASSES), rows.shape).astype("float32")
    arguments = {"act": "sigmoid", "weight_ratio": True, "sum_across_class_dim": True}
    spec = {"DistillationDMLLoss": {"model_name_pairs": PAIRS, **arguments}}
    value, *_ = evaluate(spec, student, teacher, np.stack([rows, ratio], axis=1))
    p, q = 1 / (1 + np.exp(-student)), 1 / (1 + np.exp(-teacher))
    costs = (p * np.log(p / q) + q * np.log(q / p)) / 2 * CLASSES
    weights = np.where(rows == 1, np.exp(1 - ratio), np.exp(ratio))
    np.testing.assert_allclose(value, (costs * weights).sum(axis=1).mean(), rtol=1e-5)


def test_labels_for_each_of_several_models(case):
    student, teacher, labels = case
    spec = {"DistillationGTCELoss": {"model_names": ["Student", "Teacher"], "epsilon": 0.1}}
    rows = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
    expected = sum(cross_entropy(rows, softmax(x)).mean() for x in (student, teacher))
    np.testing.assert_allclose(evaluate(spec, *case)[0], expected, rtol=1e-5)

    rows = np.eye(CLASSES)[labels].astype("float32")
    spec = {"DistillationMultiLabelLoss": {"model_names": ["Student", "Teacher"]}}
    single = LOSSES.build("MultiLabelLoss")
    parts = [
        float(single(paddle.to_tensor(x.astype("float32")), paddle.to_tensor(rows)))
        for x in (student, teacher)
    ]
    np.testing.assert_allclose(evaluate(spec, student, teacher, rows)[0], sum(parts), rtol=1e-6)


def test_pairs_add_up_and_keys_choose_outputs(case):
    student, teacher, _ = case
    arrays = [student, teacher, teacher[::-1].copy()]
    small, large, other = (paddle.to_tensor(array.astype("float32")) for array in arrays)
    outputs = {"Student": {"logits": small, "map": large}, "Teacher": {"map": other}, "T2": small}
    spec = {"name": "DistillationDistanceLoss", "mode": "l1", "key": "map"}
    loss = LOSSES.build({**spec, "model_name_pairs": PAIRS * 2})
    expected = 2 * np.abs(arrays[1] - arrays[2]).mean()
    np.testing.assert_allclose(float(loss(outputs, None)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_name_pairs": [["Studnet", "Teacher"]]}, "'Studnet'.*did you mean 'Student'"),
        ({"model_name_pairs": PAIRS, "key": "blocks"}, "no output 'blocks'.*return_patterns"),
    ],
)
def test_models_and_outputs_that_are_not_there(case, arguments, message):
    with pytest.raises(ConfigError, match=message):
        evaluate({"DistillationKLDivLoss": arguments}, *case)


def test_losses_that_need_a_class_refuse_mixed_labels(case):
    student, teacher, _ = case
    mixed = np.full((BATCH, CLASSES), 1 / CLASSES, dtype="float32")
    for name in ("DistillationDKDLoss", "DistillationWSLLoss", "DistillationSKDLoss"):
        with pytest.raises(ConfigError, match=f"{name} needs one right class"):
            evaluate({name: {"model_name_pairs": PAIRS}}, student, teacher, mixed)
