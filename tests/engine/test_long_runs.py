"""Options for runs that are restarted, moved to other machines and watched over weeks."""

import json
import sys
import time

import pytest

from ppcls.engine.checkpoint import delete_old_epochs
from ppcls.engine.trainer import Trainer
from ppcls.errors import ConfigError
from tests.engine.runs import assert_equal, weights


def test_auto_starts_anew_and_resumes(make_config, tmp_path):
    """The same command, run again after more epochs were asked for, goes on where it stopped."""
    straight = {"epochs": 3, "output_dir": str(tmp_path / "straight")}
    Trainer(make_config(checkpoints="auto", **straight)).fit()

    Trainer(make_config(checkpoints="auto", epochs=3, output_dir=str(tmp_path / "two"))).fit()
    folder = tmp_path / "two" / "DSNet"
    before = (folder / "latest.pdparams").read_bytes()
    again = Trainer(make_config(checkpoints="auto", epochs=3, output_dir=str(tmp_path / "two")))
    assert again.position.epoch == 3
    again.fit()
    assert (folder / "latest.pdparams").read_bytes() == before
    assert before == (tmp_path / "straight" / "DSNet" / "latest.pdparams").read_bytes()


def test_auto_uses_the_set_before_a_lost_latest(make_config, tmp_path):
    config = make_config(checkpoints="auto", epochs=2)
    Trainer(config).fit()
    folder = tmp_path / "run" / "DSNet"
    (folder / "latest.pdstates").unlink()
    assert Trainer(config).position.epoch == 1


def test_only_the_newest_epochs_are_kept(make_config, tmp_path):
    config = make_config(epochs=4, keep_last=2, sections={"EMA": {"decay": 0.9}})
    Trainer(config).fit()
    names = {path.name for path in (tmp_path / "run" / "DSNet").glob("epoch_*")}
    kept = {f"epoch_{n}.{s}" for n in (3, 4) for s in ("pdparams", "pdopt", "pdema", "pdstates")}
    assert names == kept
    weights(tmp_path / "run", name="epoch_3")


def test_deleting_epochs_leaves_other_files(tmp_path):
    others = ["latest.pdparams", "epoch_1.pdparams.txt", "epoch_x.pdparams", "my_epoch_1.pdparams"]
    for name in [*others, "epoch_2.pdparams", "epoch_10.pdparams", "epoch_9_student.pdparams"]:
        (tmp_path / name).touch()
    delete_old_epochs(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "epoch_10.pdparams"}


def scaled(**lr):
    base = {"name": "Cosine", "learning_rate": 0.5, "warmup_epoch": 1, "warmup_start_lr": 0.1}
    return {"Optimizer": {"name": "Momentum", "lr": {**base, **lr}}}


def test_rates_follow_the_batch(make_config):
    """Two accumulated batches of 8 images, for a recipe made for 64: a quarter of the rates."""
    plain = Trainer(make_config(update_freq=2, sections=scaled(base_batch_size=64)))
    sections = scaled(base_batch_size=64, auto_scale=True)
    trainer = Trainer(make_config(update_freq=2, sections=sections))
    rates = []
    for schedule in (plain.schedule, trainer.schedule):
        values = []
        for _ in range(2):
            values.append(schedule.get_lr())
            schedule.step()
        rates.append(values)
    assert rates[1] == pytest.approx([rate / 4 for rate in rates[0]])
    assert trainer.optimizer.get_lr() == pytest.approx(trainer.schedule.get_lr())


def test_rates_cannot_follow_an_unknown_batch(make_config):
    with pytest.raises(ConfigError, match="base_batch_size"):
        Trainer(make_config(sections=scaled(auto_scale=True)))


def test_layer_decay_and_groups_resume_exactly(make_config, tmp_path):
    groups = [{"names": ["head"], "lr_mult": 5.0, "weight_decay": 0.1}]
    lr = {"name": "Cosine", "learning_rate": 0.001}
    optimizer = {"name": "AdamW", "lr": lr, "layer_decay": 0.7, "groups": groups}
    options = {"sections": {"Optimizer": {**optimizer, "weight_decay": 0.05}}, "epochs": 2}
    Trainer(make_config(**options, output_dir=str(tmp_path / "whole"))).fit()
    log = (tmp_path / "whole" / "DSNet" / "train.log").read_text()
    assert "learning rate x 5, weight decay 0.1: 2 parameters (head.weight, head.bias)" in log
    assert "learning rate x 0.057648, weight decay 0.05: 2 parameters (patch_embed1.proj)" in log

    prefix = str(tmp_path / "whole" / "DSNet" / "epoch_1")
    Trainer(make_config(**options, output_dir=str(tmp_path / "two"), checkpoints=prefix)).fit()
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "two"))


def test_profile_of_a_run_that_goes_on(make_config, tmp_path):
    config = make_config(batch_size=2, epochs=1)
    Trainer(config, profile_steps=3).fit()
    folder = tmp_path / "run" / "DSNet"
    assert (folder / "latest.pdparams").exists()
    events = json.loads((folder / "profile" / "timeline.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if "ProfileStep" in event.get("name", "")}
    assert len(steps) == 3
    table = (folder / "profile" / "operators.txt").read_text()
    assert "conv2d dygraph" in table
    assert "slowest operators" in (folder / "train.log").read_text()


def test_profile_of_a_run_too_short(make_config, capsys):
    Trainer(make_config(batch_size=8, epochs=1), profile_steps=3).fit()
    assert "no profile: the run had only 2 iterations" in capsys.readouterr().out


def test_history_tells_cost_and_memory(make_config, tmp_path):
    Trainer(make_config(epochs=1)).fit()
    (row,) = json.loads((tmp_path / "run" / "DSNet" / "train_results.json").read_text())["history"]
    assert 100 < row["peak_memory_mib"] < 20_000
    assert 0 <= row["data_share"] <= 1
    assert row["images_per_second"] > 0


def test_slow_data_is_noticed_once(make_config, monkeypatch, capsys):
    """An operator that takes most of the time, in epochs that count as long enough to judge."""
    monkeypatch.setattr("ppcls.engine.trainer._SECONDS_TO_JUDGE_DATA", 0.0)
    trainer = Trainer(make_config(epochs=2))
    read = trainer.loader.dataset.read

    def read_slowly(index):
        time.sleep(0.2)
        return read(index)

    trainer.loader.dataset.read = read_slowly
    trainer.fit()
    assert capsys.readouterr().out.count("of the epoch was spent waiting for data") == 1


def test_learning_curves_are_drawn(make_config, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    Trainer(make_config(epochs=2)).fit()
    with Image.open(tmp_path / "run" / "DSNet" / "learning_curves.png") as picture:
        assert picture.size == (1100, 440)


def test_a_run_without_matplotlib_ends_well(make_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    Trainer(make_config(epochs=1)).fit()
    shown = capsys.readouterr().out
    assert "the learning curves are not drawn: pictures need Matplotlib" in shown
    assert "Training finished" in shown
