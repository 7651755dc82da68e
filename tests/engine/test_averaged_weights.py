"""The section `EMA`, end to end: what is averaged, saved, evaluated and resumed."""

import numpy as np
import pytest

from ppcls.engine.checkpoint import as_arrays
from ppcls.engine.evaluation import evaluate
from ppcls.engine.trainer import Trainer
from ppcls.errors import CheckpointError
from tests.engine.runs import assert_close, assert_equal, history, weights

EMA = {"EMA": {"decay": 0.5}}


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
