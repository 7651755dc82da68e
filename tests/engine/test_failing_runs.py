"""What goes wrong in a run ends in a sentence, and spoils no checkpoint."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls.commands import main
from ppcls.engine.checkpoint import as_arrays, load_checkpoint
from ppcls.engine.evaluation import evaluate
from ppcls.engine.trainer import Trainer
from ppcls.errors import CheckpointError, DataError, TrainingError
from ppcls.utils.weight_file import read_tensors
from tests.engine.conftest import CLASSES, MOMENTUM
from tests.engine.runs import at_loss, weights


def test_a_loss_that_is_not_a_number_stops_the_run(make_config, tmp_path):
    config = make_config(print_batch_step=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    at_loss(trainer, 3, lambda losses: losses.update(loss=losses["loss"] * float("nan")))
    with pytest.raises(TrainingError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "the loss is nan in epoch 2, iteration 1" in message
    assert "Optimizer.lr.learning_rate" in message
    assert str(tmp_path / "DSNet" / "latest") in message


def test_weights_of_a_run_that_failed_are_not_saved(make_config, tmp_path):
    """Also between two reports, when `latest` is saved every step."""
    config = make_config(print_batch_step=100, save_interval_steps=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    at_loss(trainer, 3, lambda losses: losses.update(loss=losses["loss"] * float("nan")))
    with pytest.raises(TrainingError):
        trainer.fit()
    saved = load_checkpoint(tmp_path / "DSNet" / "latest")
    assert saved.states["position"]["iteration"] == 2
    assert all(np.isfinite(value).all() for value in saved.weights.values())


def test_broken_weights_are_not_saved(make_config, tmp_path):
    """A step can break the weights while its own loss still was a number."""
    trainer = Trainer(make_config(save_interval_steps=1, output_dir=str(tmp_path)))
    step, calls = trainer.precision.step, []

    def break_at_the_second(optimizer):
        step(optimizer)
        calls.append(optimizer)
        if len(calls) == 2:
            trainer.model.head.bias.set_value(paddle.full([CLASSES], float("inf")))

    trainer.precision.step = break_at_the_second
    with pytest.raises(TrainingError, match=r"1 tensors of the model \(head\.bias first\)"):
        trainer.fit()
    assert np.isfinite(weights(tmp_path)["head.bias"]).all()


def test_a_diverging_run_fails_with_a_sentence(make_config, tmp_path, capsys):
    from ppcls.config import save_config

    too_fast = {**MOMENTUM, "lr": {"name": "ConstLR", "learning_rate": 1e30}}
    config = make_config(sections={"Optimizer": too_fast}, output_dir=str(tmp_path))
    save_config(config, tmp_path / "config.yaml")
    assert main("train", ["-c", str(tmp_path / "config.yaml")]) == 1
    error = capsys.readouterr().err
    assert "error: the loss is nan in epoch 1" in error
    assert "no checkpoint was saved" in error
    assert "Traceback" not in error


@pytest.fixture
def trained(make_config, tmp_path):
    """Trains a model for an epoch; gives the prefix of its checkpoint."""

    def train(**arch):
        config = make_config(arch=arch, epochs=1, output_dir=str(tmp_path / "trained"))
        Trainer(config).fit()
        return str(tmp_path / "trained" / "DSNet" / "latest")

    return train


def test_weights_of_another_model_are_refused(make_config, trained):
    prefix = trained(depth=[1, 1, 2, 1], class_num=7)
    with pytest.raises(CheckpointError) as caught:
        Trainer(make_config(pretrained_model=prefix))
    message = str(caught.value)
    assert "latest.pdparams: the tensors do not fit the model" in message
    assert "unknown to the model: blocks3.1.pos_embed.weight, blocks3.1." in message
    assert "head.weight (model [32, 4], file [32, 7])" in message


def test_weights_for_other_classes_are_refused_unless_asked_for(make_config, trained):
    prefix = trained(class_num=7)
    with pytest.raises(CheckpointError, match="`ignore_head: true`"):
        Trainer(make_config(pretrained_model=prefix))
    trainer = Trainer(make_config(pretrained_model=prefix, arch={"ignore_head": True}))
    loaded, file = as_arrays(trainer.model.state_dict()), read_tensors(f"{prefix}.pdparams")
    assert loaded["head.weight"].shape == (32, CLASSES)
    assert all(np.array_equal(loaded[n], file[n]) for n in loaded if not n.startswith("head."))


@pytest.fixture
def one_bad_picture(images, tmp_path):
    """Arguments of a dataset whose third of three pictures is cut off."""
    lines = (images / "val.txt").read_text().splitlines()[:2]
    whole = (images / "val2.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "list.txt").write_text("\n".join([*lines, "cut.png 2"]) + "\n")
    return {"cls_label_path": str(tmp_path / "list.txt")}


def test_evaluation_does_not_leave_pictures_out_by_itself(make_config, one_bad_picture):
    config = make_config(eval_dataset=one_bad_picture)
    with pytest.raises(DataError, match=r"cut\.png: .*cannot be"):
        evaluate(config)
    with pytest.raises(DataError, match=r"cut\.png: .*cannot be"):
        Trainer(config).fit()


def test_evaluation_leaves_pictures_out_when_asked(make_config, one_bad_picture, trained, capsys):
    options = {"pretrained_model": trained()}
    skipping = {**one_bad_picture, "on_error": "skip", "max_error_ratio": 0.5}
    results = evaluate(make_config(eval_dataset=skipping, **options))
    assert "left out" in capsys.readouterr().out

    # As without the picture.
    list_file = Path(one_bad_picture["cls_label_path"])
    list_file.write_text("".join(list_file.read_text().splitlines(True)[:2]))
    assert evaluate(make_config(eval_dataset=one_bad_picture, **options)) == results


def test_an_output_folder_that_cannot_be_made_is_named_with_all_else(make_config, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.txt").write_text("missing.png 0\n")
    config = make_config(
        output_dir=str(tmp_path / "file" / "run"),
        eval_dataset={"cls_label_path": str(tmp_path / "bad.txt")},
    )
    with pytest.raises(DataError) as caught:
        Trainer(config)
    message = str(caught.value)
    assert f"Global.output_dir: {tmp_path}/file/run/DSNet cannot be made" in message
    assert "missing.png: no such image file" in message


def test_an_output_folder_that_cannot_be_written_is_named(make_config, monkeypatch):
    # Root, as whom tests may run, may write everywhere.
    monkeypatch.setattr("ppcls.engine.preflight.os.access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"Global\.output_dir: .*/run/DSNet is not writable"):
        Trainer(make_config())
