"""What is said when memory runs out."""

import paddle
import pytest

from ppcls.commands import main
from ppcls.config import save_config
from ppcls.engine.memory import advice_on_memory
from ppcls.engine.trainer import Trainer
from ppcls.errors import TrainingError
from tests.engine.runs import at_loss


def take_too_much(losses):
    paddle.empty([10**13])


def test_a_run_without_memory_says_what_to_change(make_config):
    """Paddle's own error, of an allocation that no computer can grant."""
    trainer = Trainer(make_config())
    at_loss(trainer, 2, take_too_much)
    with pytest.raises(TrainingError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "memory in this computer ran out (" in message
    assert "40000000000000" in message
    assert "Halve DataLoader.Train.sampler.batch_size and double Global.update_freq" in message
    assert "\n" not in message


def test_the_memory_of_a_gpu():
    error = MemoryError(
        "\n\n----\nError Message Summary:\n----\nResourceExhaustedError: \n\n"
        "Out of memory error on GPU 0. Cannot allocate 2.0GB memory on GPU 0.\n"
    )
    assert "memory on the GPU ran out (Out of memory error on GPU 0. " in advice_on_memory(error)


def test_commands_end_with_a_sentence(make_config, tmp_path, monkeypatch, capsys):
    save_config(make_config(), tmp_path / "config.yaml")

    def fail(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr("ppcls.engine.trainer.Trainer", fail)
    assert main("train", ["-c", str(tmp_path / "config.yaml")]) == 1
    assert (
        "error: memory ran out; use smaller batches or images (no room)" in capsys.readouterr().err
    )
