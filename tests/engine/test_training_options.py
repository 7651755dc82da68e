"""What the options of a run do, end to end: a tiny model, a handful of images, real training."""

import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls.arch import build_model
from ppcls.commands import main
from ppcls.engine.checkpoint import as_arrays, load_checkpoint
from ppcls.engine.deployment import infer
from ppcls.engine.evaluation import evaluate
from ppcls.engine.trainer import Trainer
from ppcls.errors import CheckpointError, ConfigError, DataError, TrainingError
from ppcls.loss import CombinedLoss
from ppcls.utils.signals import Interrupted
from ppcls.utils.weight_file import read_tensors
from tests.engine.conftest import CLASSES, MOMENTUM

#: With the initial statistics of batch norms, which frozen ones are, activations are large.
SLOW = {"Optimizer": {**MOMENTUM, "lr": {"name": "ConstLR", "learning_rate": 1e-5}}}


def weights(folder, suffix=".pdparams", name="latest"):
    return read_tensors(Path(folder) / "DSNet" / f"{name}{suffix}")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def assert_close(one, other):
    """Up to the rounding of float32 arithmetic."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6, err_msg=name)


def history(folder):
    return json.loads((Path(folder) / "DSNet" / "train_results.json").read_text())["history"]


def train_log(folder):
    return (Path(folder) / "DSNet" / "train.log").read_text()


DROP = {"drop_path_rate": 0.5}


# -------------------------------------------------------------------- EMA

EMA = {"EMA": {"decay": 0.5}}


def test_half_precision_pixels_train_and_predict(make_config, images):
    """`output_fp16` is for the hand-over of batches, whatever is computed in."""
    half = {"NormalizeImage": {"scale": 1 / 255, "order": "", "output_fp16": True}}
    dataset = {"transform_ops": [{"DecodeImage": {}}, half, {"ToCHWImage": {}}]}
    config = make_config(epochs=1, train_dataset=dataset, eval_dataset=dataset)
    trainer = Trainer(config)
    trainer.fit()
    (batch, *_) = trainer.loader
    assert batch.images.dtype == paddle.float32
    (result,) = infer(config, str(images / "val0.png"))
    assert len(result["class_ids"]) == CLASSES


def test_evaluations_start_at_their_epoch(make_config):
    config = make_config(epochs=5, start_eval_epoch=3, eval_interval=2, save_interval=9)
    trainer = Trainer(config)
    trainer.fit()
    assert [row["epoch"] for row in trainer.position.history if "eval_loss" in row] == [4, 5]


def test_averaged_weights_are_saved_and_are_what_is_evaluated(make_config, tmp_path):
    config = make_config(sections=EMA, output_dir=str(tmp_path))
    Trainer(config).fit()
    own, averages = weights(tmp_path), weights(tmp_path, ".pdema")
    assert own.keys() == averages.keys()
    assert not np.array_equal(own["head.weight"], averages["head.weight"])

    row = history(tmp_path)[-1]
    prefix = tmp_path / "DSNet" / "latest"
    results = evaluate(make_config(pretrained_model=str(prefix)))
    assert results["loss"] == row["eval_loss"]
    assert results["top1"] == row["eval_top1"]
    of_own = evaluate(make_config(pretrained_model=f"{prefix}.pdparams"))
    assert of_own["loss"] != row["eval_loss"]


def test_averages_follow_the_optimizer_steps(make_config, tmp_path):
    """average = decay * average + (1 - decay) * value after each of the two steps of an epoch."""
    config = make_config(sections=EMA, epochs=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    expected = as_arrays(trainer.model.state_dict())
    update = trainer.ema.update

    def follow():
        update()
        for name, value in as_arrays(trainer.model.state_dict()).items():
            expected[name] = 0.5 * expected[name] + 0.5 * value

    trainer.ema.update = follow
    trainer.fit()
    assert_close(weights(tmp_path, ".pdema"), expected)


def test_a_resumed_run_continues_the_averages(make_config, tmp_path):
    Trainer(make_config(sections=EMA, output_dir=str(tmp_path / "whole"))).fit()
    prefix = tmp_path / "whole" / "DSNet" / "epoch_1"
    again = make_config(sections=EMA, output_dir=str(tmp_path / "again"), checkpoints=str(prefix))
    Trainer(again).fit()
    for suffix in (".pdema", ".pdparams"):
        assert_equal(weights(tmp_path / "whole", suffix), weights(tmp_path / "again", suffix))
    metrics = ("epoch", "lr", "train_loss", "eval_loss", "eval_top1")
    whole, resumed = history(tmp_path / "whole"), history(tmp_path / "again")
    assert [[row[key] for key in metrics] for row in whole] == [
        [row[key] for key in metrics] for row in resumed
    ]


def test_averages_cannot_be_made_up_on_resume(make_config, tmp_path):
    Trainer(make_config(epochs=1, output_dir=str(tmp_path))).fit()
    prefix = str(tmp_path / "DSNet" / "latest")
    with pytest.raises(CheckpointError, match="holds no averaged weights, but the EMA section"):
        Trainer(make_config(sections=EMA, checkpoints=prefix))


# -------------------------------------------------------------------- how a step is computed


def test_to_static_trains_the_same_weights(make_config, tmp_path):
    """Stochastic depth included: the seed of a step holds for the program too."""
    for to_static in (False, True):
        folder = str(tmp_path / str(to_static))
        Trainer(make_config(to_static=to_static, output_dir=folder, arch=DROP)).fit()
    assert_close(weights(tmp_path / "True"), weights(tmp_path / "False"))
    eager, static = history(tmp_path / "False"), history(tmp_path / "True")
    for one, other in zip(eager, static):
        assert one["eval_loss"] == pytest.approx(other["eval_loss"], rel=1e-4)


@pytest.fixture
def frozen_statistics(monkeypatch):
    """Batch norms use their running statistics, so that an image does not see its batch."""

    def build(spec):
        model = build_model(spec)
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                layer._use_global_stats = True
        return model

    monkeypatch.setattr("ppcls.engine.trainer.build_model", build)


@pytest.mark.usefixtures("frozen_statistics")
def test_accumulated_batches_are_one_large_batch(make_config, tmp_path):
    for batch_size, update_freq in ((16, 1), (8, 2)):
        folder = tmp_path / str(update_freq)
        config = make_config(batch_size, SLOW, update_freq=update_freq, output_dir=str(folder))
        trainer = Trainer(config)
        start = as_arrays(trainer.model.state_dict())
        trainer.fit()
        assert trainer.schedule.last_epoch == 2  # one step in each of two epochs
    assert_close(weights(tmp_path / "1"), weights(tmp_path / "2"))
    assert np.abs(weights(tmp_path / "1")["head.weight"] - start["head.weight"]).max() > 1e-4


@pytest.mark.usefixtures("frozen_statistics")
def test_a_last_group_may_be_smaller(make_config, tmp_path):
    """Three batches in groups of two: the third is a step of its own, not half of one."""
    config = make_config(6, SLOW, update_freq=2, epochs=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    scales, backward = [], trainer.precision.backward
    at_loss(trainer, None, lambda losses: scales.append(float(losses["loss"])))

    def record(loss):
        scales[-1] = float(loss) / scales[-1]
        backward(loss)

    trainer.precision.backward = record
    trainer.fit()
    assert scales == pytest.approx([0.5, 0.5, 1.0])
    assert trainer.schedule.last_epoch == 2


def test_mixed_precision_on_the_cpu_says_that_it_has_no_effect(make_config, tmp_path):
    amp = {"AMP": {"use_amp": True, "level": "O2"}}
    for name, sections in (("plain", {}), ("amp", amp)):
        config = make_config(sections=sections, epochs=1, output_dir=str(tmp_path / name))
        Trainer(config).fit()
    warning = "AMP: Paddle has no mixed precision on CPUs, computing in float32"
    assert warning in train_log(tmp_path / "amp")
    assert warning not in train_log(tmp_path / "plain")
    assert_equal(weights(tmp_path / "plain"), weights(tmp_path / "amp"))


# -------------------------------------------------------------------- what is written


def scalars(folder):
    """VisualDL's records, {tag: [(step, value), ...]}."""
    visualdl = pytest.importorskip("visualdl")
    (path,) = (Path(folder) / "DSNet" / "vdl").glob("vdlrecords.*")
    reader = visualdl.LogReader(file_path=str(path))
    return {
        tag: [(record.id, record.value) for record in reader.get_data("scalar", tag)]
        for tag in reader.get_tags()["scalar"]
    }


@pytest.fixture
def no_graph(monkeypatch):
    """Without the process that draws the graph, which takes as long as many of these tests."""

    class NoGraph:
        def __init__(self, config, folder):
            pass

        def close(self):
            pass

    monkeypatch.setattr("ppcls.engine.visualdl_writer.GraphWriter", NoGraph)


def test_visualdl_graph_and_images(make_config, tmp_path):
    visualdl = pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, epochs=1, output_dir=str(tmp_path))
    Trainer(config).fit()
    folder = tmp_path / "DSNet" / "vdl"
    (graph,) = folder.glob("vdlgraph.*")
    nodes = {node["name"] for node in json.loads(graph.read_text())["nodes"]}
    assert any("DualStreamBlock" in name for name in nodes)
    (records,) = folder.glob("vdlrecords.*")
    (image,) = visualdl.LogReader(file_path=str(records)).get_data("image", "train/images")
    with Image.open(io.BytesIO(image.image.encoded_image_string)) as sheet:
        assert sheet.size == (96, 96)  # 3 x 3 places for a batch of 8


@pytest.mark.usefixtures("no_graph")
def test_visualdl_scalars(make_config, tmp_path):
    pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, print_batch_step=1, output_dir=str(tmp_path))
    Trainer(config).fit()
    written = scalars(tmp_path)
    assert [step for step, _ in written["train/loss"]] == [1, 2, 3, 4]
    # The rate that the next step will have.
    assert written["train/lr"][-1] == (4, 0.0)
    rows = history(tmp_path)
    for name in ("loss", "top1"):
        values = [(row["epoch"], pytest.approx(row[f"eval_{name}"])) for row in rows]
        assert written[f"eval/{name}"] == values


@pytest.mark.usefixtures("no_graph")
def test_scalars_of_an_interrupted_run_are_not_lost(make_config, tmp_path):
    pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, print_batch_step=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    interrupt_at(trainer, 3)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3]


def interrupt_at(trainer, step):
    """SIGTERM comes during the given step."""
    at_loss(trainer, step, lambda losses: os.kill(os.getpid(), signal.SIGTERM))


def at_loss(trainer, step, act):
    """Calls `act` with the losses of the given training step, or of each one."""
    forward, calls = trainer.loss.forward, []

    def forward_and_act(*arguments):
        losses = forward(*arguments)
        calls.append(losses)
        if step in (len(calls), None):
            act(losses)
        return losses

    trainer.loss.forward = forward_and_act


# -------------------------------------------------------------------- what goes wrong


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


# -------------------------------------------------------------------- losses, schedules

PLATEAU = {"name": "ReduceOnPlateau", "learning_rate": 0.05, "patience": 0, "factor": 0.5}


def plateau(**lr):
    return {"Optimizer": {**MOMENTUM, "lr": {**PLATEAU, "monitor": "top1", "mode": "max", **lr}}}


def test_the_rate_drops_when_evaluations_do_not_improve(make_config, tmp_path):
    # Nothing is 10 times better than the first, so every later evaluation is one without success.
    config = make_config(
        sections=plateau(threshold=10.0), epochs=4, output_dir=str(tmp_path / "whole")
    )
    Trainer(config).fit()
    rows = history(tmp_path / "whole")
    assert [row["lr"] for row in rows] == pytest.approx([0.05, 0.05, 0.025, 0.0125])

    part = {"sections": plateau(threshold=10.0), "output_dir": str(tmp_path / "part")}
    Trainer(make_config(epochs=2, **part)).fit()
    prefix = str(tmp_path / "part" / "DSNet" / "latest")
    Trainer(make_config(epochs=4, checkpoints=prefix, **part)).fit()
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "part"))


def test_a_schedule_that_follows_evaluations_needs_them(make_config):
    with pytest.raises(ConfigError, match=r"ReduceOnPlateau.*eval_during_train: true"):
        Trainer(make_config(sections=plateau(), eval_during_train=False))


def test_balanced_classes_are_counted_in_the_training_list(make_config, images, tmp_path):
    lines = (images / "train.txt").read_text().splitlines()
    rare = [line for line in lines if line.endswith("\t0")][1:]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(line for line in lines if line not in rare) + "\n")
    balanced = {"Loss": {"Train": [{"CELoss": {"class_weight": "balanced"}}]}}
    config = make_config(sections=balanced, train_dataset={"cls_label_path": str(path)})
    trainer = Trainer(config)
    # 13 images: one of class 0, four of each other class.
    explicit = CombinedLoss([{"CELoss": {"class_weight": [13 / 4] + [13 / 16] * 3}}])
    logits = paddle.to_tensor(np.random.RandomState(0).randn(4, CLASSES).astype("float32"))
    labels = paddle.to_tensor(np.arange(4))
    assert float(trainer.loss(logits, labels)["loss"]) == float(explicit(logits, labels)["loss"])


def test_balanced_classes_in_evaluation_are_refused_before_training(make_config):
    losses = {"Train": [{"CELoss": {}}], "Eval": [{"CELoss": {"class_weight": "balanced"}}]}
    with pytest.raises(ConfigError, match=r"`balanced` counts.*Loss\.Eval"):
        Trainer(make_config(sections={"Loss": losses}))
