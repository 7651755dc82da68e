"""Checkpoints: sets of files that are complete or recognised as not.

`<folder>/<name>.pdparams`  weights, as `paddle.save` writes a state dict (PaddleClas reads it);
`<folder>/<name>.pdopt`     optimizer state, keyed by the weights' structured names;
`<folder>/<name>.pdema`     averaged weights, when EMA is on;
`<folder>/<name>.pdstates`  JSON: everything else a resume needs, and the checksums of the others;
`<folder>/<name>_student.pdparams`  after a distillation, the weights of the student alone.

The `.pdstates` is renamed into place last. Before that, the set it replaces is kept under
`previous`, so that a process killed between two renames leaves either set whole.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle

from ppcls.errors import CheckpointError
from ppcls.utils import atomic
from ppcls.utils.hashing import sha256_of
from ppcls.utils.logger import logger
from ppcls.utils.weight_file import read_pickled, read_tensors

FORMAT_VERSION = 1
WEIGHTS, OPTIMIZER, EMA, STATES = ".pdparams", ".pdopt", ".pdema", ".pdstates"
LATEST, PREVIOUS, BEST = "latest", "previous", "best_model"
#: Value of `Global.checkpoints`: resume if there is something to resume from.
AUTO = "auto"
_EPOCH_FILE = re.compile(r"epoch_(\d+)(?:_student)?\.(?:pdparams|pdopt|pdema|pdstates)")
#: Temporary names of this module and of `ppcls.utils.atomic`.
_LEFTOVER = re.compile(r"\..+\.(?:new|new\.pd[a-z]+|[0-9a-f]{32}\.tmp)")

PathLike = Union[str, Path]


@dataclass
class Checkpoint:
    """A checkpoint in memory; tensors are NumPy arrays keyed by structured names."""

    weights: "dict[str, np.ndarray]"
    optimizer: "Optional[dict[str, Any]]"
    ema: "Optional[dict[str, np.ndarray]]"
    states: "dict[str, Any]"


def save_checkpoint(folder: PathLike, name: str, checkpoint: Checkpoint) -> Path:
    """Writes a set of files and returns its prefix, `<folder>/<name>`.

    Raises:
        OSError: the disk is full or not writable. The set that was there before still loads.
    """
    folder = Path(folder)
    contents = {WEIGHTS: _packed(checkpoint.weights)}
    if checkpoint.optimizer is not None:
        contents[OPTIMIZER] = _packed(checkpoint.optimizer)
    if checkpoint.ema is not None:
        contents[EMA] = _packed(checkpoint.ema)
    files = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in contents.items()}
    states = {"format_version": FORMAT_VERSION, **checkpoint.states, "files": files}
    contents[STATES] = _sealed(states)

    staged = [(folder / f".{name}.new{suffix}", folder / f"{name}{suffix}") for suffix in contents]
    try:
        for (temporary, _), content in zip(staged, contents.values()):
            atomic.write_bytes(temporary, content)
    except OSError:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise
    if name == LATEST:
        _keep_previous(folder)
    for temporary, final in staged:
        os.replace(temporary, final)
    for suffix in (OPTIMIZER, EMA):
        if suffix not in contents:
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return folder / name


def save_student(folder: PathLike, name: str, checkpoint: Checkpoint, prefix: str) -> Path:
    """Writes the tensors of one model among several, to be used without the others.

    They are those the checkpoint is evaluated with, under the names they have in the model alone,
    in `<folder>/<name>_student.pdparams`; returns that path.

    Args:
        prefix: what their names in the checkpoint start with, e.g. `Student.`.
    """
    path = Path(folder) / f"{name}_student{WEIGHTS}"
    tensors = checkpoint.ema if checkpoint.ema is not None else checkpoint.weights
    atomic.write_bytes(path, _packed(without_prefix(tensors, prefix)))
    return path


def without_prefix(tensors: "Mapping[str, np.ndarray]", prefix: str) -> "dict[str, np.ndarray]":
    """The tensors whose names start with `prefix`, under the rest of their names."""
    return {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }


def load_checkpoint(prefix: PathLike) -> Checkpoint:
    """Reads the set at `prefix` (a path without suffix) to resume from.

    If the set is damaged or half replaced and an older `previous` set stands beside it, that one is
    used and the log says so.

    Raises:
        CheckpointError: neither can be used; names the file and the reason.
    """
    prefix = without_suffix(prefix)
    try:
        return _load_set(prefix)
    except CheckpointError as error:
        previous = prefix.with_name(PREVIOUS)
        if prefix.name != LATEST or not _with_suffix(previous, STATES).exists():
            raise
        logger.warning(f"{error}; using the checkpoint saved before it, {previous}")
        return _load_set(previous)


def checkpoint_to_resume(option: Optional[str], folder: PathLike) -> Optional[Path]:
    """The prefix that `Global.checkpoints` means for a run with this folder, None to start anew.

    `auto` is `latest`, if the run has saved one (or `previous`, from which it would be restored).
    """
    if not option:
        return None
    if option != AUTO:
        return Path(option)
    latest = Path(folder) / LATEST
    is_saved = any(_with_suffix(latest.with_name(n), STATES).exists() for n in (LATEST, PREVIOUS))
    return latest if is_saved else None


def delete_old_epochs(folder: PathLike, keep: int) -> None:
    """Deletes the files of all `epoch_N` but those of the `keep` greatest N."""
    found: dict[int, list[Path]] = {}
    for path in Path(folder).iterdir():
        match = _EPOCH_FILE.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    for epoch in sorted(found)[:-keep]:
        # The `.pdstates` goes first: a set without it is no checkpoint any more.
        for path in sorted(found[epoch], key=lambda path: path.suffix != STATES):
            path.unlink(missing_ok=True)


def delete_leftovers(folder: PathLike) -> None:
    """Deletes what a killed process had begun to write in the folder of a run."""
    for path in Path(folder).iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def load_weights_for_inference(prefix: PathLike) -> "tuple[dict[str, np.ndarray], Path]":
    """The weights a checkpoint was evaluated with: the averaged ones where there are any.

    Args:
        prefix: a path with or without suffix; with `.pdparams` or `.pdema`, exactly that file.

    Returns:
        the tensors by structured name, and the file they came from.
    """
    path = Path(prefix)
    if path.suffix not in (WEIGHTS, EMA):
        averaged = _with_suffix(path, EMA)
        path = averaged if averaged.exists() else _with_suffix(path, WEIGHTS)
    if not path.exists():
        raise CheckpointError(f"there is no weight file {path}")
    return read_tensors(path), path


def as_arrays(tensors: "Mapping[str, paddle.Tensor]") -> "dict[str, np.ndarray]":
    """A state dict's tensors as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def without_suffix(prefix: PathLike) -> Path:
    """`prefix` less one of the suffixes of a checkpoint's files, if it has one."""
    path = Path(prefix)
    return path.with_suffix("") if path.suffix in (WEIGHTS, OPTIMIZER, EMA, STATES) else path


def _with_suffix(prefix: Path, suffix: str) -> Path:
    # Not Path.with_suffix: a run's name may hold a dot.
    return prefix.with_name(prefix.name + suffix)


def _packed(tensors: "dict[str, Any]") -> bytes:
    buffer = io.BytesIO()
    paddle.save(tensors, buffer)
    return buffer.getvalue()


def _sealed(states: "dict[str, Any]") -> bytes:
    states = json.loads(json.dumps(states))
    return json.dumps({"sha256": _seal(states), "states": states}, indent=1).encode()


def _seal(states: "dict[str, Any]") -> str:
    return hashlib.sha256(json.dumps(states, sort_keys=True).encode()).hexdigest()


def _load_set(prefix: Path) -> Checkpoint:
    states = _read_states(_with_suffix(prefix, STATES))
    for suffix, expected in states["files"].items():
        path = _with_suffix(prefix, suffix)
        if not path.exists():
            raise CheckpointError(f"checkpoint {prefix} is incomplete: {path} is missing")
        if sha256_of(path) != expected:
            raise CheckpointError(
                f"checkpoint {prefix} is damaged: the content of {path} is not what was saved"
            )
    files = states["files"]
    return Checkpoint(
        weights=read_tensors(_with_suffix(prefix, WEIGHTS)),
        optimizer=read_pickled(_with_suffix(prefix, OPTIMIZER)) if OPTIMIZER in files else None,
        ema=read_tensors(_with_suffix(prefix, EMA)) if EMA in files else None,
        states=states,
    )


def _read_states(path: Path) -> "dict[str, Any]":
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        states, seal = sealed["states"], sealed["sha256"]
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no checkpoint {path.with_suffix('')}: {path} does not exist. To start from "
            "weights alone, set Global.pretrained_model instead of Global.checkpoints"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: it is not the JSON that was saved") from error
    if _seal(states) != seal:
        raise CheckpointError(f"{path} is damaged: its content is not what was saved")
    version = states.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version reads {FORMAT_VERSION}"
        )
    return states


def _keep_previous(folder: Path) -> None:
    """Makes `previous` another name of the files of `latest`, if that set is whole.

    A set left half replaced by a killed process does not displace the good `previous`.
    """
    latest = folder / LATEST
    try:
        states = _read_states(_with_suffix(latest, STATES))
    except CheckpointError:
        return
    for suffix, expected in states["files"].items():
        path = _with_suffix(latest, suffix)
        if not path.exists() or sha256_of(path) != expected:
            return
    for suffix in (*states["files"], STATES):
        _link(_with_suffix(latest, suffix), _with_suffix(folder / PREVIOUS, suffix))


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
