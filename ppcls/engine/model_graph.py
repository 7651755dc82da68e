"""The graph of a model for VisualDL, made by a process of its own.

VisualDL reads programs of the legacy format, which a process writes only if it has never written
the present one; and it takes seconds, during which training goes on.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

from ppcls.utils.logger import logger

#: Seconds that the end of a training waits for the graph.
_PATIENCE = 120


class GraphWriter:
    """Writes `vdlgraph.*.log` beside the records of a run, in the background.

    Args:
        config: file with the configuration of the run.
        folder: of the VisualDL records.
    """

    def __init__(self, config: Path, folder: Path):
        # The graph is that of a model on the processor; the accelerator belongs to the training.
        environment = {**os.environ, "FLAGS_enable_pir_api": "0", "CUDA_VISIBLE_DEVICES": ""}
        for name in ("PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID", "PADDLE_TRAINER_ENDPOINTS"):
            environment.pop(name, None)
        self._process: Optional[subprocess.Popen[str]] = subprocess.Popen(
            [sys.executable, "-m", __name__, str(config), str(folder)],
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Waits for the graph; says so when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            _, errors = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            errors = f"not ready after {_PATIENCE} s"
        if process.returncode:
            reason = errors.strip().splitlines()[-1:] or ["no reason given"]
            logger.warning(f"VisualDL: the graph of the model is not written: {reason[0]}")


def write_graph(config: "dict[str, Any]", folder: Path) -> None:
    """Writes the graph of the model that infers; in a process for the legacy format only."""
    import paddle
    from visualdl import LogWriter

    from ppcls.arch import build_model
    from ppcls.arch.distillation import inference_spec
    from ppcls.config.sections import GlobalOptions

    # Paddle 3 has attributes that VisualDL 2.5 does not know how to write.
    json.JSONEncoder.default = lambda self, value: str(value)
    paddle.set_device("cpu")
    spec, _ = inference_spec(config["Arch"])
    model = build_model({**spec, "pretrained": False})
    model.eval()
    shape = [None, *GlobalOptions(**config.get("Global", {})).image_shape]
    # The writer would put records of its own beside those of the run.
    with tempfile.TemporaryDirectory() as scratch:
        with LogWriter(logdir=scratch) as writer:
            writer.add_graph(model, [paddle.static.InputSpec(shape, "float32")])
        for graph in Path(scratch).glob("vdlgraph.*"):
            shutil.copy(graph, folder)


if __name__ == "__main__":
    from ppcls.config import load_config

    if hasattr(os, "nice"):
        os.nice(10)
    write_graph(load_config(Path(sys.argv[1]).resolve()), Path(sys.argv[2]))
