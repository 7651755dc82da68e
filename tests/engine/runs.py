"""What a run has written, and how to step into one."""

import json
from pathlib import Path

import numpy as np

from ppcls.utils.weight_file import read_tensors


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
