"""Kills a training run again and again, at random times, and compares what becomes of it.

    python benchmarks/faults.py [--kills 50] [--epochs 6] [--in-saves 0.3] [--seed 0]

A small DSNet learns the digits of scikit-learn on the CPU, saves `latest` after every step, and is
started anew with `Global.checkpoints: auto` after each kill. Kills come at a random moment of a
random step, of start-up (one in five), or while a checkpoint is being written (`--in-saves`);
SIGKILL to the run, sometimes SIGTERM, and SIGKILL to one of its data workers, which the run must
survive. After each it is checked that
what can be resumed is not older than what had been saved before the kill. In the end weights,
optimizer, averaged weights and history must be those of a run that nobody disturbed, to the bit.

The exit code is 1 if anything was lost or differs.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CONFIG = ROOT / "configs" / "quick_start" / "digits" / "DSNet_digits.yaml"
SMALL = {
    "Arch.embed_dim": "[8,16,24,32]",
    "Arch.depth": "[1,1,1,1]",
    "Arch.num_heads": "[1,2,3,4]",
    "Arch.drop_path_rate": "0.1",
    "Optimizer.lr.warmup_epoch": "0",
    "Global.save_interval_steps": "1",
    "Global.checkpoints": "auto",
    "Global.device": "cpu",
    "EMA.decay": "0.9",
}
KINDS = {"SIGKILL": 0.7, "SIGTERM": 0.15, "SIGKILL to a data worker": 0.15}
_SHARE_IN_START_UP = 0.2
_SECONDS_TO_WAIT = 300.0
#: What differs between two runs of the same steps.
_TIMES = ("seconds", "images_per_second", "data_share", "peak_memory_mib")


@dataclass
class Kill:
    """One kill: its kind, when it came, and the iterations that were saved before and after."""

    kind: str
    moment: str
    before: int
    after: int
    fell_back: bool


def overrides(digits: Path, output: Path, more: "dict[str, str]") -> "list[str]":
    """Arguments of `tools/train.py` for the small run."""
    values = {**SMALL, "Global.output_dir": str(output), **more}
    for split, name in (("Train", "train"), ("Eval", "val")):
        values[f"DataLoader.{split}.dataset.image_root"] = str(digits)
        values[f"DataLoader.{split}.dataset.cls_label_path"] = str(digits / f"{name}_list.txt")
    values["Infer.PostProcess.class_id_map_file"] = str(digits / "label_list.txt")
    return ["-c", str(CONFIG), *(word for k, v in values.items() for word in ("-o", f"{k}={v}"))]


def torment(
    start: "Callable[[], Any]",
    folder: Path,
    kills: int,
    iterations: int,
    rng: random.Random,
    in_saves: float = 0.3,
) -> "Iterable[Kill]":
    """Kills the runs that `start` starts, and lets the last one finish.

    Args:
        start: starts or resumes the run; gives its process (`pid`, `poll`, `wait`).
        folder: of its checkpoints.
        kills: how often.
        iterations: of the whole run; a kill waits for a random one of them.
        rng: decides when, and how.
        in_saves: share of the kills outside of start-up that wait for a save to begin.
    """
    process, patience = start(), 0.05
    for target in sorted(rng.randrange(iterations - 1) for _ in range(kills)):
        kind = rng.choices([*KINDS], [*KINDS.values()])[0]
        in_start_up = rng.random() < _SHARE_IN_START_UP
        if in_start_up:
            time.sleep(rng.uniform(0.0, 3.0))
        else:
            reached = _wait_for(process, folder, target)
            patience = 0.9 * patience + 0.1 * reached
            if rng.random() < in_saves:
                _wait_for_save(process, folder)
                time.sleep(rng.uniform(0.0, 0.02))
            else:
                time.sleep(rng.uniform(0.0, 2 * patience))
        if process.poll() is not None:
            raise SystemExit(f"the run ended by itself, exit code {process.poll()}")
        before = saved_iteration(folder)
        victim = _worker_of(process.pid) if kind == "SIGKILL to a data worker" else None
        if victim is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            yield Kill(kind, "training", before, max(before, saved_iteration(folder)), False)
            continue
        kind = "SIGTERM" if kind == "SIGTERM" else "SIGKILL"
        os.kill(process.pid, getattr(signal, kind))
        process.wait()
        moment = "start-up" if in_start_up else "training"
        if not in_start_up and kind == "SIGKILL" and _was_saving(folder):
            moment = "save"
        after, fell_back = resumable_iteration(folder)
        yield Kill(kind, moment, before, after, fell_back)
        process = start()
    if process.wait() != 0:
        raise SystemExit(f"the last run failed, exit code {process.wait()}")


def _wait_for(process: Any, folder: Path, iteration: int) -> float:
    """Waits until an iteration after this one has been saved; returns how long a step took."""
    began = changed = time.monotonic()
    seen, gap = saved_iteration(folder), 0.05
    while True:
        now = saved_iteration(folder)
        if now != seen:
            seen, gap, changed = now, time.monotonic() - changed, time.monotonic()
        if now > iteration or process.poll() is not None:
            return min(gap, 1.0)
        if time.monotonic() - began > _SECONDS_TO_WAIT:
            raise SystemExit(f"iteration {iteration} was not reached")
        time.sleep(0.002)


def _wait_for_save(process: Any, folder: Path) -> None:
    """Waits until files are being written; they have temporary names meanwhile."""
    began = time.monotonic()
    while not _was_saving(folder) and process.poll() is None:
        if time.monotonic() - began > _SECONDS_TO_WAIT:
            raise SystemExit("no save was seen")
        time.sleep(0.001)


def saved_iteration(folder: Path) -> int:
    """Iterations in `latest` as far as its states tell; 0 without one."""
    try:
        text = (folder / "latest.pdstates").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    return json.loads(text)["states"]["position"]["iteration"]


def resumable_iteration(folder: Path) -> "tuple[int, bool]":
    """Iterations in what a resume would use, and whether that is not `latest` itself."""
    from ppcls.engine.checkpoint import checkpoint_to_resume, load_checkpoint
    from ppcls.errors import CheckpointError
    from ppcls.utils.logger import logger

    prefix = checkpoint_to_resume("auto", folder)
    if prefix is None:
        return 0, False
    messages: list[str] = []
    noting = logging.Handler()
    noting.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(noting)
    try:
        checkpoint = load_checkpoint(prefix)
    except CheckpointError as error:
        raise SystemExit(f"nothing can be resumed: {error}") from error
    finally:
        logger.removeHandler(noting)
    return checkpoint.states["position"]["iteration"], any("saved before" in m for m in messages)


def _was_saving(folder: Path) -> bool:
    """Whether files are being written, or were when the run was killed."""
    return any(folder.glob(".*"))


def _worker_of(pid: int) -> Optional[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None
    return None


def differences(one: Path, other: Path) -> "list[str]":
    """What is not the same, to the bit, in the last checkpoints and histories of two runs."""
    import numpy as np

    from ppcls.engine.checkpoint import load_checkpoint

    a, b = load_checkpoint(one / "latest"), load_checkpoint(other / "latest")
    found = []
    for kind in ("weights", "optimizer", "ema"):
        left, right = getattr(a, kind), getattr(b, kind)
        if left.keys() != right.keys():
            found.append(f"{kind}: other tensors")
            continue
        found += [
            f"{kind}: {name}"
            for name in left
            if name != "LR_Scheduler" and not np.array_equal(left[name], right[name])
        ]
    histories = [
        [
            {key: value for key, value in row.items() if key not in _TIMES}
            for row in checkpoint.states["position"]["history"]
        ]
        for checkpoint in (a, b)
    ]
    return found + (["history"] if histories[0] != histories[1] else [])


def _start_command(arguments: "list[str]", log: Path) -> "subprocess.Popen[bytes]":
    with open(log, "ab") as file:
        command = [sys.executable, str(ROOT / "tools" / "train.py"), *arguments]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument(
        "--in-saves", type=float, default=0.3, metavar="SHARE", help="kills that wait for a save"
    )
    parser.add_argument("--workers", type=int, default=2, help="data workers")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--keep", type=Path, help="folder for the runs, by default a temporary one")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ppcls.data.prepare import prepare_digits

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        prepare_digits(folder / "digits")
        more = {
            "Global.epochs": str(options.epochs),
            "DataLoader.Train.loader.num_workers": str(options.workers),
        }
        whole, torn = folder / "whole", folder / "torn"
        for output in (whole, torn):
            output.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        alone = _start_command(overrides(folder / "digits", whole, more), whole / "log.txt")
        if alone.wait() != 0:
            raise SystemExit(f"the undisturbed run failed, see {whole / 'log.txt'}")
        seconds_alone = time.monotonic() - began
        iterations = saved_iteration(whole / "DSNet")
        arguments = overrides(folder / "digits", torn, more)
        found: list[Kill] = []
        began = time.monotonic()
        for kill in torment(
            lambda: _start_command(arguments, torn / "log.txt"),
            torn / "DSNet",
            options.kills,
            iterations,
            random.Random(options.seed),
            options.in_saves,
        ):
            found.append(kill)
            print(f"{len(found)}: {kill}", flush=True)
        return _report(found, whole, torn, iterations, seconds_alone, time.monotonic() - began)


def _report(
    kills: "list[Kill]", whole: Path, torn: Path, iterations: int, alone: float, seconds: float
) -> int:
    lost = [kill for kill in kills if kill.after < kill.before]
    odd = differences(whole / "DSNet", torn / "DSNet")
    kinds = Counter(kill.kind for kill in kills)
    moments = Counter(kill.moment for kill in kills)
    print(f"{iterations} iterations, {len(kills)} kills: {dict(kinds)}; during {dict(moments)}")
    print(f"resumed from `previous`: {sum(kill.fell_back for kill in kills)} times")
    print(f"kills after which less could be resumed than was saved: {len(lost)}")
    left = [path.name for path in (torn / "DSNet").glob(".*")]
    print(f"files left over: {left or 'none'}")
    print(f"undisturbed {alone:.0f} s, with kills {seconds:.0f} s")
    print(f"differences from the undisturbed run: {odd or 'none'}")
    return 1 if lost or odd or left else 0


if __name__ == "__main__":
    sys.exit(main())
