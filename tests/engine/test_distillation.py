"""Distillation end to end: a tiny teacher and student, a handful of images, real training."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from ppcls.arch import build_model
from ppcls.config import load_config
from ppcls.config.check import check_config
from ppcls.engine.deployment import build_trained_model, export, infer
from ppcls.engine.evaluation import evaluate
from ppcls.engine.trainer import Trainer
from ppcls.errors import ConfigError
from ppcls.inference import Predictor
from ppcls.utils.weight_file import read_tensors
from tests.engine.runs import assert_equal
from tests.engine.tiny_dataset import read_split, write_brightnesses

CLASSES = 4
TEACHER = {
    "name": "DSNet",
    "embed_dim": [8, 16, 24, 32],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "downsamples": [4, 2, 1, 1],
}
STUDENT = {**TEACHER, "embed_dim": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2]}
PAIRS = [["Student", "Teacher"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """12 training and 5 validation pictures of random pixels, a brightness per class."""
    folder = tmp_path_factory.mktemp("images")
    write_brightnesses(folder, CLASSES, train=12, val=5)
    paddle.seed(4)
    teacher = build_model({**TEACHER, "class_num": CLASSES})
    with paddle.no_grad():  # statistics of batch norms, without which activations are huge
        for _ in range(30):
            teacher(paddle.randn([8, 3, 32, 32]))
    paddle.save(teacher.state_dict(), str(folder / "teacher.pdparams"))
    return folder


@pytest.fixture
def make_config(folder, tmp_path):
    """Makes a checked configuration; keyword arguments replace keys of `Global`."""

    def make(arch=(), losses=None, sections=(), **options):
        config = {
            "Global": {
                "device": "cpu",
                "epochs": 2,
                "output_dir": str(tmp_path / "run"),
                "save_inference_dir": str(tmp_path / "inference"),
                "image_shape": [3, 32, 32],
                **options,
            },
            "Arch": {
                "name": "DistillationModel",
                "class_num": CLASSES,
                "pretrained_list": [str(folder / "teacher"), None],
                "freeze_params_list": [True, False],
                "infer_model_name": "Student",
                "models": [{"Teacher": TEACHER}, {"Student": STUDENT}],
                **dict(arch),
            },
            "Loss": {
                "Train": losses
                or [
                    {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
                    {"DistillationKLDivLoss": {"weight": 0.5, "model_name_pairs": PAIRS}},
                ],
                "Eval": [{"CELoss": {"weight": 1.0}}],
            },
            "Optimizer": {
                "name": "Momentum",
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "lr": {"name": "MultiStepDecay", "learning_rate": 0.005, "milestones": [1]},
            },
            "DataLoader": {
                "Train": read_split(folder, "train", 4),
                "Eval": read_split(folder, "val", 4),
            },
            "Infer": {
                "PostProcess": {"name": "DistillationPostProcess", "func": "Topk", "topk": 2}
            },
            "Metric": {
                "Train": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1]}}],
                "Eval": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}}],
            },
            **dict(sections),
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return load_config(path)

    return make


def run_folder(tmp_path, name="run"):
    return tmp_path / name / "DistillationModel"


def of_model(tensors, name):
    return {key: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def test_a_frozen_teacher_stays_as_it_was_loaded(make_config, folder, tmp_path):
    trainer = Trainer(make_config())
    before = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    teacher = read_tensors(folder / "teacher.pdparams")
    assert_equal(of_model(before, "Teacher"), {f"Teacher.{k}": v for k, v in teacher.items()})
    trainer.fit()
    after = read_tensors(run_folder(tmp_path) / "latest.pdparams")
    # Statistics of batch norms among them.
    assert_equal(of_model(before, "Teacher"), of_model(after, "Teacher"))
    student = of_model(after, "Student")
    moved = [name for name, value in student.items() if not np.array_equal(value, before[name])]
    assert set(moved) == set(student)


def test_both_models_learn_when_none_is_frozen(make_config, tmp_path):
    losses = [
        {"DistillationGTCELoss": {"model_names": ["Student", "Teacher"], "key": "logits"}},
        {"DistillationDMLLoss": {"model_name_pairs": PAIRS, "key": "output"}},
    ]
    config = make_config(arch={"freeze_params_list": None}, losses=losses, epochs=1)
    trainer = Trainer(config)
    before = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    trainer.fit()
    after = read_tensors(run_folder(tmp_path) / "latest.pdparams")
    assert not any(np.array_equal(after[name], before[name]) for name in after)


def test_the_student_is_evaluated_and_leaves_alone(make_config, folder, tmp_path):
    summary = Trainer(make_config()).fit()
    runs = run_folder(tmp_path)
    assert Path(summary["folder"]) == runs
    rows = json.loads((runs / "train_results.json").read_text())["history"]
    best = max(rows, key=lambda row: row["eval_top1"])

    # All models, and the student alone, evaluate to what training has logged.
    whole = evaluate(make_config(pretrained_model=str(runs / "best_model")))
    plain = {
        "Arch": {**STUDENT, "class_num": CLASSES},
        "Metric": {"Eval": [{"TopkAcc": {"topk": [1, 2]}}]},
    }
    student_file = str(runs / "best_model_student")
    alone = evaluate(make_config(sections=plain, pretrained_model=student_file))
    for name in ("top1", "top2", "loss"):
        assert whole[name] == alone[name] == pytest.approx(best[f"eval_{name}"], rel=1e-6)

    image = str(folder / "val1.png")
    predicted = infer(make_config(pretrained_model=str(runs / "best_model")), image)
    assert len(predicted[0]["class_ids"]) == 2
    assert infer(make_config(pretrained_model=student_file), image) == predicted

    # Neither the teacher nor published weights are needed for it.
    gone = {
        "pretrained_list": [str(folder / "gone"), None],
        "models": [{"Teacher": TEACHER}, {"Student": {**STUDENT, "pretrained": "gone"}}],
    }
    report = export(make_config(arch=gone, pretrained_model=str(runs / "best_model")))
    predictor = Predictor(report.folder)
    assert predictor.description.model_name == "DSNet"
    assert predictor.description.postprocess == {"name": "Topk", "topk": 2}
    deployed = predictor.predict(image)
    assert deployed[0]["class_ids"] == predicted[0]["class_ids"]
    np.testing.assert_allclose(deployed[0]["scores"], predicted[0]["scores"], atol=1e-4)
    student_size = (runs / "best_model_student.pdparams").stat().st_size
    program_size = (report.folder / "inference.pdiparams").stat().st_size
    assert program_size < 1.2 * student_size


def test_the_student_of_an_average_is_averaged(make_config, tmp_path):
    Trainer(make_config(sections={"EMA": {"decay": 0.5}}, epochs=1)).fit()
    runs = run_folder(tmp_path)
    averages = of_model(read_tensors(runs / "latest.pdema"), "Student")
    student = read_tensors(runs / "latest_student.pdparams")
    assert_equal(averages, {f"Student.{name}": value for name, value in student.items()})


FEATURES = {
    "models": [
        {"Teacher": {**TEACHER, "return_patterns": ["blocks4"]}},
        {"Student": {**STUDENT, "return_patterns": ["blocks4"]}},
    ]
}
MASKED = [
    {"DistillationGTCELoss": {"model_names": ["Student"]}},
    {
        "DistillationPairLoss": {
            "base_loss_name": "MGDLoss",
            "model_name_pairs": PAIRS,
            "s_key": "blocks4",
            "t_key": "blocks4",
            "student_channels": 16,
            "teacher_channels": 32,
        }
    },
]


def test_weights_of_a_loss_are_trained_and_resumed(make_config, tmp_path):
    def config(name, **options):
        return make_config(arch=FEATURES, losses=MASKED, output_dir=str(tmp_path / name), **options)

    trainer = Trainer(config("whole"))
    before = {name: tensor.numpy() for name, tensor in trainer.loss.state_dict().items()}
    trainer.fit()
    after = {name: tensor.numpy() for name, tensor in trainer.loss.state_dict().items()}
    assert before
    assert not any(np.array_equal(before[name], after[name]) for name in before)

    Trainer(config("part", save_interval=1)).fit()
    first = str(run_folder(tmp_path, "part") / "epoch_1")
    resumed = Trainer(config("part", checkpoints=first))
    resumed.fit()
    assert_equal(
        *(
            read_tensors(run_folder(tmp_path, name) / "latest.pdparams")
            for name in ("whole", "part")
        )
    )
    assert_equal(after, {name: t.numpy() for name, t in resumed.loss.state_dict().items()})


def attention_side(backbone, shapes, transform):
    keys = list(shapes)
    return {
        "name": "AttentionModel",
        "freeze_params_list": [transform.endswith("Teacher"), False],
        "models": [
            {"Backbone": {**backbone, "return_patterns": keys}},
            {"Transform": {"name": transform, "qk_dim": 8, "keys": keys, **shapes.arguments}},
        ],
    }


class Shapes(dict):
    """Shapes of maps by name, and the transforms' arguments made of them."""

    arguments: dict


def test_attention_transfer(make_config, folder, tmp_path):
    s_shapes = Shapes({"blocks3": [16, 8, 8], "blocks4": [16, 4, 4]})
    t_shapes = Shapes({"blocks3": [24, 8, 8], "blocks4": [32, 4, 4]})
    probe = build_model({**TEACHER, "class_num": 2, "return_patterns": list(t_shapes)})
    outputs = probe(paddle.zeros([2, 3, 32, 32]))
    for name in t_shapes:
        t_shapes[name] = outputs[name].shape[1:]
        s_shapes[name] = [STUDENT["embed_dim"][int(name[-1]) - 1], *outputs[name].shape[2:]]
    shapes = {"s_shapes": list(s_shapes.values()), "t_shapes": list(t_shapes.values())}
    t_shapes.arguments = {"t_shapes": shapes["t_shapes"]}
    s_shapes.arguments = shapes
    arch = {
        "freeze_params_list": None,
        "pretrained_list": None,
        "models": [
            {"Teacher": attention_side(TEACHER, t_shapes, "LinearTransformTeacher")},
            {"Student": attention_side(STUDENT, s_shapes, "LinearTransformStudent")},
        ],
    }
    losses = [
        {"DistillationGTCELoss": {"model_names": ["Student"], "key": "logits"}},
        {"AFDLoss": {"weight": 50.0, "qk_dim": 8, **shapes}},
    ]
    trainer = Trainer(make_config(arch=arch, losses=losses, epochs=1))
    before = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    trainer.fit()
    runs = run_folder(tmp_path)
    after = read_tensors(runs / "latest.pdparams")
    assert_equal(of_model(before, "Teacher.Backbone"), of_model(after, "Teacher.Backbone"))
    query = "Teacher.Transform.query_layer.0.linear.weight"
    assert not np.array_equal(before[query], after[query])

    # The plain backbone leaves: no transform, no maps.
    config = make_config(arch=arch, losses=losses, pretrained_model=str(runs / "latest"))
    student = build_trained_model(config)
    names = {f"Student.Backbone.{name}" for name in student.state_dict()}
    assert names == set(of_model(after, "Student.Backbone"))
    assert student(paddle.zeros([1, 3, 32, 32])).shape == [1, CLASSES]
    report = export(config)
    image = str(folder / "val2.png")
    one, other = Predictor(report.folder).predict(image)[0], infer(config, image)[0]
    np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)


def test_backbones_with_fixed_parameter_names_stay_apart():
    pytest.importorskip("paddleclas")
    spec = {"name": "SqueezeNet1_1", "class_num": 3}
    model = build_model(
        {"name": "DistillationModel", "models": [{"Teacher": spec}, {"Student": spec}]}
    )
    names = [parameter.name for parameter in model.parameters()]
    assert len(set(names)) == len(names)
    assert model.class_num == 3


def test_typos_in_models_are_found_with_their_path():
    arch = {
        "name": "DistillationModel",
        "class_num": CLASSES,
        "freeze_param_list": [True, False],
        "models": [
            {"Teacher": {"name": "DSNet_tinny"}},
            {"Student": {"name": "DSNet_tiny", "drop_pathrate": 0.1}},
        ],
    }
    faults = "\n".join(check_config({"Arch": arch})[1])
    assert "Arch.freeze_param_list: unknown key; did you mean 'freeze_params_list'" in faults
    assert "Arch.models.0.Teacher.name: unknown arch 'DSNet_tinny'; did you mean" in faults
    assert "Arch.models.1.Student.drop_pathrate: unknown key; did you mean" in faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"infer_model_name": "Pupil"}, "no model 'Pupil' among Teacher, Student"),
        ({"freeze_params_list": [True]}, "1 entries for 2 models"),
        ({"models": [{"A": STUDENT, "B": STUDENT}]}, "expected one model"),
        ({"models": [{"A": STUDENT}, {"A": STUDENT}]}, "the name 'A' is taken"),
        ({"freeze_params_list": [True, True]}, "nothing to train"),
    ],
)
def test_models_that_do_not_fit_together(make_config, change, message):
    base = {"pretrained_list": None, "infer_model_name": None}
    with pytest.raises(ConfigError, match=message):
        Trainer(make_config(arch={**base, **change}))


def test_predictions_are_the_students(make_config, tmp_path):
    post = {"Infer": {"PostProcess": {"name": "DistillationPostProcess", "model_name": "Teacher"}}}
    config = make_config(sections=post)
    with pytest.raises(ConfigError, match=r"model_name: .*'Student', not with 'Teacher'"):
        infer(config, str(tmp_path))
