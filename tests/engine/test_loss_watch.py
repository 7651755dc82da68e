"""Losses that are not numbers: traced to their images; by option only the step is lost."""

import json

import numpy as np
import paddle
import pytest

from ppcls.engine.checkpoint import as_arrays
from ppcls.engine.environment import Environment
from ppcls.engine.loss_watch import LossWatch, drop_broken_gradients
from ppcls.engine.trainer import Trainer
from ppcls.errors import TrainingError
from tests.engine.runs import assert_equal

PLAIN = {"Optimizer": {"name": "SGD", "lr": {"name": "ConstLR", "learning_rate": 0.01}}}


def poison(trainer, *numbers):
    """Makes the images of some batches, counted from 1 on, NaN; returns the names of all."""
    make, names = trainer.loader.make_batch, []

    def make_batch(keys, allocate):
        arrays, skipped = make(keys, allocate)
        names.append([trainer.loader.dataset.path(key.index) for key in keys])
        if len(names) in numbers:
            arrays[0][:] = np.nan
        return arrays, skipped

    trainer.loader.make_batch = make_batch
    return names


def follow(trainer):
    """The model's tensors after each iteration, in a list that fills."""
    step, states = trainer.step, []

    def and_look(*arguments):
        ends = step(*arguments)
        states.append(as_arrays(trainer.model.state_dict()))
        return ends

    trainer.step = and_look
    return states


def bad_batches(tmp_path):
    lines = (tmp_path / "run" / "DSNet" / "bad_batches.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_images_of_the_first_bad_loss_are_named(make_config, tmp_path):
    """Also when it is looked at later, and all losses after it are broken too."""
    trainer = Trainer(make_config(print_batch_step=10))
    names = poison(trainer, 3, 4)
    with pytest.raises(TrainingError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "the loss is nan in epoch 2, iteration 1; its images are" in message
    assert f"{', '.join(names[2][:4])} and 4 more, listed in" in message
    expected = {"epoch": 2, "iteration": 1, "loss": "nan", "files": names[2]}
    assert bad_batches(tmp_path) == [expected]


def test_a_skipped_step_leaves_the_model_as_it_is(make_config, tmp_path, capsys):
    trainer = Trainer(make_config(on_nan="skip", sections=PLAIN))
    names, states = poison(trainer, 3), follow(trainer)
    trainer.fit()
    assert_equal(states[1], states[2])
    assert all(np.isfinite(value).all() for value in states[3].values())
    for name in ("head.weight", "blocks1.0.norm1._mean"):
        assert not np.array_equal(states[2][name], states[3][name])
    assert [row["files"] for row in bad_batches(tmp_path)] == [names[2]]
    assert np.isfinite([row["train_loss"] for row in trainer.position.history]).all()
    shown = capsys.readouterr().out
    assert shown.count("the step in epoch 2, iteration 1 was skipped") == 1


def test_a_group_of_iterations_is_one_step(make_config, capsys):
    """One broken batch of two costs the step of both."""
    trainer = Trainer(make_config(on_nan="skip", sections=PLAIN, update_freq=2))
    poison(trainer, 3)
    states = follow(trainer)
    trainer.fit()
    assert_equal(
        {n: v for n, v in states[1].items() if "_mean" not in n and "_variance" not in n},
        {n: v for n, v in states[3].items() if "_mean" not in n and "_variance" not in n},
    )
    assert capsys.readouterr().out.count("was skipped") == 1


def test_too_many_skips_end_the_run(make_config, tmp_path):
    config = make_config(on_nan="skip", max_skips=3, save_interval_steps=1, epochs=3)
    trainer = Trainer(config)
    poison(trainer, 1, 3, 4, 5)
    message = r"3 steps in a row \(Global.max_skips\), the last in epoch 3, iteration 1"
    with pytest.raises(TrainingError, match=message):
        trainer.fit()
    # The count goes on over a restart.
    prefix = str(tmp_path / "run" / "DSNet" / "latest")
    again = Trainer(make_config(on_nan="skip", max_skips=3, epochs=3, checkpoints=prefix))
    assert again.position.iteration == 4
    poison(again, 1)
    with pytest.raises(TrainingError, match="3 steps in a row"):
        again.fit()


def test_gradients_that_are_no_numbers_are_dropped_together():
    good, bad = paddle.ones([2]), paddle.ones([3])
    for tensor in (good, bad):
        tensor.stop_gradient = False
    (good.sum() * 2 + bad.sum() * 3).backward()
    assert bool(drop_broken_gradients([good, bad]))
    assert good.grad.tolist() == [2, 2]
    with paddle.no_grad():
        paddle.assign(paddle.to_tensor([3.0, float("inf"), 3.0]), output=bad.grad)
    assert not bool(drop_broken_gradients([good, bad]))
    assert good.grad.tolist() == [0, 0]
    assert bad.grad.tolist() == [0, 0, 0]


class Names:
    def path(self, index):
        return f"{index}.png"


def test_gradients_without_a_bad_loss_are_told_too(tmp_path):
    watch = LossWatch(Names(), 10, Environment("cpu"), tmp_path, "skip", max_skips=2)
    images = paddle.to_tensor([7, 8])
    for number, is_sound in enumerate([True, False, True, False]):
        watch.note(number, paddle.ones([]), images, True, paddle.to_tensor(is_sound))
    watch.check()
    rows = [json.loads(line) for line in (tmp_path / "bad_batches.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["loss"]) for row in rows] == [(2, 1.0), (4, 1.0)]
    assert watch.skips_in_a_row == 1


class Other(Environment):
    """The view of process 0 of two, of which the other has a bad loss in its second iteration."""

    def sum(self, tensor):
        others = paddle.zeros_like(tensor)
        others[1, 1] = 1
        return tensor + others


def test_processes_agree_on_whose_images_it_was(tmp_path):
    watch = LossWatch(Names(), 10, Other("cpu", 0, 2), tmp_path, "stop", max_skips=2)
    # The gradients of process 1 have spoiled the weights of both by the third iteration.
    for number, loss in enumerate([1.0, 1.0, float("nan")]):
        watch.note(number, paddle.to_tensor(loss), paddle.to_tensor([7, 8]), True)
    with pytest.raises(TrainingError) as caught:
        watch.check()
    assert "in epoch 1, iteration 2 in process 1" in str(caught.value)
    assert str(tmp_path / "bad_batches_1.jsonl") in str(caught.value)
    assert not (tmp_path / "bad_batches.jsonl").exists()
