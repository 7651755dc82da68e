"""Runs that are killed, and resumed, as those of `benchmarks/faults.py`, which does it longer."""

import importlib.util
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from ppcls.commands import main
from tests.data.test_workers import wait_until_gone

linux = pytest.mark.skipif(sys.platform != "linux", reason="kills processes as Linux has them")


@pytest.fixture(scope="module")
def faults(repo_root):
    """The module `benchmarks/faults.py`."""
    spec = importlib.util.spec_from_file_location("faults", repo_root / "benchmarks" / "faults.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def train(arguments, log):
    """The body of a process: trains, with output to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(main("train", arguments))


class Forked:
    """A training process that a server starts which has imported Paddle already."""

    def __init__(self, context, arguments, log):
        self.process = context.Process(target=train, args=(arguments, str(log)))
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode


@linux
def test_kills_at_random_times_change_nothing(faults, digits, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ppcls.engine.trainer", "ppcls.commands.train"])
    more = {
        "Global.epochs": "1",
        "DataLoader.Train.sampler.batch_size": "16",
        "DataLoader.Train.loader.num_workers": "2",
    }

    def start(name):
        (tmp_path / name).mkdir(exist_ok=True)
        arguments = faults.overrides(digits, tmp_path / name, more)
        return Forked(context, arguments, tmp_path / name / "log.txt")

    assert start("whole").wait() == 0
    kills = [
        *faults.torment(lambda: start("torn"), tmp_path / "torn" / "DSNet", 3, 15, random.Random(3))
    ]
    assert [kill.kind for kill in kills].count("SIGKILL") >= 2
    assert all(kill.after >= kill.before for kill in kills)
    assert faults.differences(tmp_path / "whole" / "DSNet", tmp_path / "torn" / "DSNet") == []
    assert not [*(tmp_path / "torn" / "DSNet").glob(".*")]


@linux
def test_the_others_end_with_a_sentence_when_a_process_is_killed(
    faults, digits, tmp_path, repo_root
):
    more = {"Global.epochs": "100", "Global.print_batch_step": "1"}
    arguments = faults.overrides(digits, tmp_path, more)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2"]
    launcher = subprocess.Popen(
        [*command, "--log_dir", str(log), "tools/train.py", *arguments],
        cwd=repo_root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = log / "workerlog.0"
    deadline = time.monotonic() + 120
    while not first.exists() or "[Iter: 1/" not in first.read_text(errors="replace"):
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = {}
    for pid in children_of(launcher.pid):
        with open(f"/proc/{pid}/environ", errors="replace") as file:
            found = re.search(r"PADDLE_TRAINER_ID=(\d)", file.read())
        if found:
            ranks[found[1]] = pid
    os.kill(ranks["1"], signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    assert wait_until_gone(ranks.values())
    assert "error: process 1 of 2 is gone, so this one (0) ends too" in first.read_text()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
