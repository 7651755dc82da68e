"""What each of two processes runs for `test_sharding.py`: `two_processes.py CONFIG FOLDER`."""

import sys

from ppcls.config import load_config
from ppcls.engine.trainer import Trainer


def train(config: str, folder: str, *overrides: str) -> Trainer:
    """Trains with these overrides; gives the trainer."""
    trainer = Trainer(load_config(config, [f"Global.output_dir={folder}", *overrides]))
    trainer.fit()
    return trainer


if __name__ == "__main__":
    config, folder = sys.argv[1:]
    sharded = "Optimizer.shard_state=true"
    train(config, f"{folder}/whole")
    trainer = train(config, f"{folder}/sharded", sharded)
    values = sum(
        int(t.size) for k, t in trainer.optimizer.inner.state_dict().items() if "_mom" in k
    )
    print("values in this process:", values)
    train(config, f"{folder}/resumed", sharded, f"Global.checkpoints={folder}/whole/DSNet/epoch_1")
    train(config, f"{folder}/back", f"Global.checkpoints={folder}/sharded/DSNet/epoch_1")
