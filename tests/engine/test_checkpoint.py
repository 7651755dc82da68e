"""Checkpoints: whole, or recognised as not."""

import numpy as np
import pytest

from ppcls.engine.checkpoint import (
    LATEST,
    Checkpoint,
    delete_leftovers,
    load_checkpoint,
    load_weights_for_inference,
    save_checkpoint,
)
from ppcls.errors import CheckpointError
from ppcls.utils import atomic


def checkpoint(value):
    tensors = {"w": np.full([2, 3], value, dtype="float32")}
    return Checkpoint(tensors, {"w/moment": np.zeros(3)}, None, {"step": value})


@pytest.fixture
def folder(tmp_path):
    for value in (1, 2):
        save_checkpoint(tmp_path, LATEST, checkpoint(value))
    return tmp_path


def test_round_trip(folder):
    loaded = load_checkpoint(folder / LATEST)
    assert loaded.states["step"] == 2
    assert np.array_equal(loaded.weights["w"], np.full([2, 3], 2, dtype="float32"))
    assert set(loaded.optimizer) == {"w/moment"}


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_set_falls_back_to_the_one_before(folder, suffix, damage):
    path = folder / f"{LATEST}{suffix}"
    content = bytearray(path.read_bytes())
    path.unlink()  # the previous set may share the file: a new one, as a damaged disk would not be
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert load_checkpoint(folder / LATEST).states["step"] == 1
    # Going on from there, the damaged set does not displace the good one.
    save_checkpoint(folder, LATEST, checkpoint(3))
    assert load_checkpoint(folder / LATEST).states["step"] == 3
    assert load_checkpoint(folder / "previous").states["step"] == 1


def test_without_a_previous_set_the_file_is_named(tmp_path):
    save_checkpoint(tmp_path, LATEST, checkpoint(1))
    (tmp_path / "latest.pdopt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"damaged: .*latest\.pdopt"):
        load_checkpoint(tmp_path / LATEST)
    with pytest.raises(CheckpointError, match="pretrained_model instead"):
        load_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize("survives", [0, 1, 2])
def test_a_full_disk_leaves_the_old_set(folder, monkeypatch, survives):
    calls = []
    write = atomic.write_bytes

    def full(path, content):
        calls.append(path)
        if len(calls) > survives:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(atomic, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(folder, LATEST, checkpoint(3))
    monkeypatch.undo()
    assert load_checkpoint(folder / LATEST).states["step"] == 2
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("renames", [1, 2])
def test_killed_between_two_renames(folder, monkeypatch, renames):
    import os

    replace, done = os.replace, []

    def killed(source, target):
        if str(source).startswith(str(folder / f".{LATEST}.new")):
            done.append(target)
            if len(done) > renames:
                raise SystemExit
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        save_checkpoint(folder, LATEST, checkpoint(3))
    monkeypatch.undo()
    assert load_checkpoint(folder / LATEST).states["step"] == 2


def test_weights_for_inference_prefer_the_averaged_ones(tmp_path):
    averaged = checkpoint(1)
    averaged.ema = {"w": np.zeros([2, 3], dtype="float32")}
    save_checkpoint(tmp_path, "best_model", averaged)
    assert load_weights_for_inference(tmp_path / "best_model")[1].suffix == ".pdema"
    assert load_weights_for_inference(tmp_path / "best_model.pdparams")[1].suffix == ".pdparams"
    save_checkpoint(tmp_path, "best_model", checkpoint(2))
    assert load_weights_for_inference(tmp_path / "best_model")[1].suffix == ".pdparams"


def test_leftovers_of_a_killed_process_are_deleted(folder):
    """And nothing else."""
    kept = {path.name for path in folder.iterdir()} | {".hidden", ".new", "notes.tmp"}
    for name in (".hidden", ".new", "notes.tmp"):
        (folder / name).touch()
    for name in (
        ".latest.new.pdparams",
        ".previous.pdopt.new",
        f"..latest.new.pdema.{'0a' * 16}.tmp",
    ):
        (folder / name).touch()
    delete_leftovers(folder)
    assert {path.name for path in folder.iterdir()} == kept
