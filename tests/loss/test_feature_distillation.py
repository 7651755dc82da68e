"""Distillation of features against the papers' formulas in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.attention_transfer import LinearTransformStudent, LinearTransformTeacher
from ppcls.errors import ConfigError
from ppcls.loss.feature_distillation import MGDLoss, PEFDLoss
from ppcls.registry import LOSSES


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def tensor(array):
    return paddle.to_tensor(array.astype("float32"))


def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5).mean()


def relations(x):
    """Distances over their mean, and cosines of angles, of rows."""
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    differences = x[None] - x[:, None]
    norms = np.linalg.norm(differences, axis=2, keepdims=True)
    units = differences / np.where(norms == 0, 1, norms)
    return distances / distances.mean(), np.einsum("aic,ajc->aij", units, units)


def test_relations(rng):
    student, teacher = rng.standard_normal((2, 5, 3, 4, 4)), rng.standard_normal((5, 7, 2, 2))
    outputs = {"Student": {"a": tensor(student[0]), "b": tensor(student[1])}}
    outputs["Teacher"] = {"c": tensor(teacher)}
    loss = LOSSES.build(
        {
            "DistillationRKDLoss": {
                "target_size": 2,
                "student_keepkeys": ["a", "b"],
                "teacher_keepkeys": ["c", "c"],
            }
        }
    )
    expected = 0.0
    for maps in student:
        pooled = maps.reshape(5, 3, 2, 2, 2, 2).mean(axis=(3, 5))
        for own, other in zip(relations(pooled.reshape(5, -1)), relations(teacher.reshape(5, -1))):
            expected += huber(own - other)
    np.testing.assert_allclose(float(loss(outputs, None)), expected, rtol=1e-4)


def test_projector_ensemble(rng):
    student, teacher = rng.standard_normal((4, 3, 2, 2)), rng.standard_normal((4, 5, 2, 2))
    loss = PEFDLoss(student_channel=3, teacher_channel=5, num_projectors=2)
    mean = 0
    for projector in loss.projectors:
        weight = projector.weight.numpy()[:, :, 0, 0].astype("float64")
        projected = np.einsum("oi,bihw->bohw", weight, student)
        projected += projector.bias.numpy()[None, :, None, None]
        mean = mean + np.maximum(projected, 0) / 2
    a, b = mean.reshape(4, -1), teacher.reshape(4, -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    value = float(loss(tensor(student), tensor(teacher)))
    np.testing.assert_allclose(value, (1 - cosine).mean(), rtol=1e-5)


def test_masked_generation(rng):
    student, teacher = tensor(rng.standard_normal((8, 3, 4, 4))), rng.standard_normal((8, 5, 4, 4))
    whole = MGDLoss(student_channels=3, teacher_channels=5, alpha_mgd=2.0, lambda_mgd=0.0)
    generated = whole.generate(whole.align(student)).numpy().astype("float64")
    expected = 2.0 * ((generated - teacher) ** 2).mean()
    np.testing.assert_allclose(float(whole(student, tensor(teacher))), expected, rtol=1e-5)

    # With every channel dropped nothing of the student is left.
    nothing = MGDLoss(3, 5, lambda_mgd=1.0)
    values = [float(nothing(x, tensor(teacher))) for x in (student, 5 * student)]
    assert values[0] == values[1]

    # In between, whole channels are dropped, at the given rate.
    some = MGDLoss(3, 3, lambda_mgd=0.25)
    some.generate = paddle.nn.Identity()
    ones, zeros = paddle.ones([100, 3, 2, 2]), paddle.zeros([100, 3, 2, 2])
    kept = float(some(ones, zeros)) / some.alpha
    assert 0.65 < kept < 0.85
    assert round(kept * 300, 3) == round(kept * 300)  # of 300 channels


def test_weights_of_a_pair_loss_are_shared_and_its_arguments_are_checked():
    spec = {"base_loss_name": "MGDLoss", "student_channels": 2, "teacher_channels": 2}
    loss = LOSSES.build(
        {"DistillationPairLoss": {**spec, "s_keys": ["a", "b"], "t_keys": ["a", "b"]}}
    )
    assert len(loss.parameters()) == 4
    with pytest.raises(ConfigError, match="as many outputs"):
        LOSSES.build({"DistillationPairLoss": {**spec, "s_key": "a"}})
    wrong = {**spec, "student_chanels": 2, "s_key": "a", "t_key": "a"}
    with pytest.raises(ConfigError, match="did you mean 'student_channels'"):
        LOSSES.build({"DistillationPairLoss": wrong})


S_SHAPES, T_SHAPES = [[3, 8, 8], [4, 4, 4]], [[5, 4, 4], [5, 4, 4], [6, 2, 2]]


def batch_norm(x):
    """In training, with scale 1 and shift 0."""
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


def linear(layer, x):
    weight, bias = (p.numpy().astype("float64") for p in (layer.linear.weight, layer.linear.bias))
    return batch_norm(x @ weight + bias)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_attention_between_maps(rng):
    size, batch = 4, 6
    students = {f"s{i}": rng.standard_normal((batch, *shape)) for i, shape in enumerate(S_SHAPES)}
    teachers = {f"t{i}": rng.standard_normal((batch, *shape)) for i, shape in enumerate(T_SHAPES)}
    of_student = LinearTransformStudent(size, T_SHAPES, S_SHAPES, list(students))
    of_teacher = LinearTransformTeacher(size, T_SHAPES, list(teachers))
    loss = LOSSES.build({"AFDLoss": {"s_shapes": S_SHAPES, "t_shapes": T_SHAPES, "qk_dim": size}})
    outputs = {
        "Student": of_student({name: tensor(x) for name, x in students.items()}),
        "Teacher": of_teacher({name: tensor(x) for name, x in teachers.items()}),
    }
    value = float(loss(outputs, None))

    keys = np.stack(
        [
            np.maximum(linear(layer, x.mean(axis=(2, 3))), 0)
            for layer, x in zip(of_student.key_layer, students.values())
        ],
        axis=1,
    )
    keys = linear(of_student.bilinear, keys.reshape(-1, size)).reshape(batch, 2, 3, size)
    queries = np.stack(
        [
            linear(layer, x.mean(axis=(2, 3)))
            for layer, x in zip(of_teacher.query_layer, teachers.values())
        ],
        axis=1,
    )
    expected = 0.0
    logits = np.einsum("bstq,btq->bts", keys, queries)
    logits = (logits + loss.p_t.numpy() @ loss.p_s.numpy().T) / np.sqrt(size)
    attention = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    for t, target in enumerate(teachers.values()):
        height = target.shape[2]
        target = unit((target**2).mean(axis=1).reshape(batch, -1))
        for s, own in enumerate(students.values()):
            cell = own.shape[2] // height
            energy = (own**2).mean(axis=1).reshape(batch, height, cell, height, cell)
            own = unit(energy.mean(axis=(2, 4)).reshape(batch, -1))
            expected += (attention[:, t, s] * ((own - target) ** 2).mean(axis=1)).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)

    # Half precision, as mixed precision leaves it outside its context.
    halves = {
        model: {
            name: [v.astype("bfloat16") for v in part]
            if isinstance(part, list)
            else part.astype("bfloat16")
            for name, part in output.items()
        }
        for model, output in outputs.items()
    }
    half = loss(halves, None)
    assert half.dtype == paddle.float32
    np.testing.assert_allclose(float(half), value, rtol=0.05)


def test_attention_needs_its_transforms(rng):
    loss = LOSSES.build({"AFDLoss": {"s_shapes": S_SHAPES, "t_shapes": T_SHAPES}})
    with pytest.raises(ConfigError, match="must be an AttentionModel"):
        loss({"Student": tensor(rng.standard_normal((2, 3))), "Teacher": None}, None)


def test_sub_layers_of_our_models_by_name():
    spec = {
        "name": "DSNet",
        "class_num": 3,
        "embed_dim": [8, 16, 24, 32],
        "depth": [1, 1, 1, 1],
        "num_heads": [1, 2, 3, 4],
        "downsamples": [4, 2, 1, 1],
    }
    paddle.seed(0)
    plain = build_model(spec)
    names = [name for name, layer in plain.named_sublayers() if not layer.sublayers()]
    wanted = [names[0], names[-1]]
    model = build_model({**spec, "return_patterns": wanted})
    model.set_state_dict(plain.state_dict())
    plain.eval(), model.eval()
    images = paddle.rand([2, 3, 32, 32])
    outputs = model(images)
    assert list(outputs) == ["logits", *wanted]
    assert np.array_equal(outputs["logits"].numpy(), plain(images).numpy())
    with pytest.raises(ConfigError, match=r"return_patterns: DSNet has no sub-layer 'hed'.*'head'"):
        build_model({**spec, "return_patterns": ["hed"]})
