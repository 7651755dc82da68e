"""Optimizer state that two processes share out."""

import os
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest

from ppcls.config import save_config
from ppcls.engine.checkpoint import load_checkpoint
from ppcls.errors import ConfigError
from ppcls.optimizer import build_optimizer
from ppcls.optimizer.sharding import share_out
from tests.engine.runs import assert_equal, weights

ADAMW = {
    "name": "AdamW",
    "weight_decay": 0.1,
    "clip_grad": 0.5,
    "layer_decay": 0.8,
    "lr": {"name": "Cosine", "learning_rate": 0.01},
}


def test_a_sharded_optimizer_makes_the_same_steps(make_config, tmp_path, repo_root):
    """Bitwise; and its checkpoints are those of one that is not sharded, in both directions."""
    config = make_config(4, {"Optimizer": ADAMW}, eval_during_train=False)
    save_config(config, tmp_path / "config.yaml")
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node=2"]
    arguments = ["--log_dir", str(tmp_path / "log"), "tests/engine/two_processes.py"]
    command = [sys.executable, *launcher, *arguments, str(tmp_path / "config.yaml"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    done = subprocess.run(command, cwd=repo_root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = load_checkpoint(tmp_path / "whole" / "DSNet" / "latest").optimizer
    for name in ("sharded", "resumed", "back"):
        assert_equal(weights(tmp_path / "whole"), weights(tmp_path / name))
        state = load_checkpoint(tmp_path / name / "DSNet" / "latest").optimizer
        assert state.keys() == whole.keys()
        assert all(np.array_equal(state[k], whole[k]) for k in whole if k != "LR_Scheduler")
    counts = [
        int(re.search(r"values in this process: (\d+)", path.read_text())[1])
        for path in sorted((tmp_path / "log").glob("workerlog.*"))
    ]
    total = sum(value.size for key, value in whole.items() if "/mom" in key)
    assert sum(counts) == total
    assert max(counts) < 0.55 * total


def test_shares_are_even_and_the_same_everywhere():
    parameters = [paddle.zeros([size]) for size in (1, 9, 4, 4, 3, 2)]
    sizes = [sorted(int(p.size) for p in share) for share in share_out(parameters, 2)]
    assert sizes == [[1, 2, 9], [3, 4, 4]]


def test_more_processes_than_parameters():
    spec = {**ADAMW, "layer_decay": None, "shard_state": True}
    with pytest.raises(ConfigError, match=r"2 parameters are trained, fewer .* \(3\)"):
        build_optimizer(spec, paddle.nn.Linear(2, 2), 1, 1, rank=0, world_size=3)
