"""What the options of a run do, end to end: a tiny model, a handful of images, real training."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.engine.checkpoint import as_arrays
from ppcls.engine.deployment import infer
from ppcls.engine.trainer import Trainer
from ppcls.errors import ConfigError
from ppcls.loss import CombinedLoss
from tests.engine.conftest import CLASSES, MOMENTUM, SLOW
from tests.engine.runs import assert_close, assert_equal, at_loss, history, train_log, weights

DROP = {"drop_path_rate": 0.5}


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
