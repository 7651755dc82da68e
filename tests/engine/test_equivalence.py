"""The same step, computed in other ways: by two processes, in parts, in another precision."""

import subprocess
import sys

import paddle
import pytest

from ppcls.config import save_config
from ppcls.engine.checkpoint import as_arrays
from ppcls.engine.trainer import Trainer
from tests.engine.conftest import SLOW
from tests.engine.runs import assert_close, weights

#: Batch norms use their running statistics, so that an image does not see its batch.
NO_STATISTICS = {"freeze": ["blocks?.*.norm*", "norm"]}


def test_two_processes_that_accumulate_are_one_with_a_large_batch(make_config, tmp_path, repo_root):
    """Two processes x two accumulated batches of 2 images: steps of 8 images."""
    options = {"sections": SLOW, "arch": NO_STATISTICS, "eval_during_train": False}
    alone = Trainer(make_config(8, **options, output_dir=str(tmp_path / "alone")))
    start = as_arrays(alone.model.state_dict())
    alone.fit()

    config = make_config(2, **options, update_freq=2, output_dir=str(tmp_path / "two"))
    save_config(config, tmp_path / "config.yaml")
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node=2"]
    log = ["--log_dir", str(tmp_path / "log")]
    command = [*launcher, *log, "tools/train.py", "-c", str(tmp_path / "config.yaml")]
    done = subprocess.run([sys.executable, *command], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    together = weights(tmp_path / "two")
    assert_close(weights(tmp_path / "alone"), together)
    assert abs(together["head.weight"] - start["head.weight"]).max() > 1e-4


@pytest.mark.parametrize("operator", ["matmul", "conv2d"])
def test_paddle_computes_in_float32_on_cpus(operator):
    """Why mixed precision has no effect there: auto_cast does nothing, and there is nothing to
    cast to. When this fails, `MixedPrecision` need not turn it off any more."""
    image, kernel = paddle.ones([1, 2, 4, 4]), paddle.ones([3, 2, 1, 1])

    def compute(dtype):
        x, w = image.astype(dtype), kernel.astype(dtype)
        if operator == "matmul":
            return paddle.matmul(w.reshape([3, 2]), x.reshape([2, 16]))
        return paddle.nn.functional.conv2d(x, w)

    with paddle.amp.auto_cast(level="O2", dtype="bfloat16"):
        assert compute("float32").dtype == paddle.float32
    with pytest.raises(RuntimeError, match=f"bfloat16. of kernel `{operator}` is not registered"):
        compute("bfloat16")
