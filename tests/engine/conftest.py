"""A tiny model, a handful of images, and the configuration that trains one on the other."""

import pytest

from ppcls.config.check import check_config
from tests.engine.tiny_dataset import read_split, write_brightnesses

CLASSES = 4
ARCH = {
    "name": "DSNet",
    "class_num": CLASSES,
    "embed_dim": [8, 16, 24, 32],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "downsamples": [4, 2, 1, 1],
    "drop_path_rate": 0.0,
}
MOMENTUM = {
    "name": "Momentum",
    "momentum": 0.9,
    "lr": {"name": "Cosine", "learning_rate": 0.05},
}
#: With the initial statistics of batch norms, which frozen ones are, activations are large.
SLOW = {"Optimizer": {**MOMENTUM, "lr": {"name": "ConstLR", "learning_rate": 1e-5}}}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """16 training and 6 validation pictures of 32x32 random pixels, a mean colour per class."""
    folder = tmp_path_factory.mktemp("images")
    write_brightnesses(folder, CLASSES, train=16, val=6)
    return folder


@pytest.fixture
def make_config(images, tmp_path):
    """Makes a checked configuration; keyword arguments replace keys of `Global`."""

    def make(batch_size=8, sections=(), train_dataset=(), eval_dataset=(), arch=(), **options):
        config = {
            "Global": {
                "device": "cpu",
                "epochs": 2,
                "output_dir": str(tmp_path / "run"),
                "image_shape": [3, 32, 32],
                **options,
            },
            "Arch": {**ARCH, **dict(arch)},
            "Loss": {"Train": [{"CELoss": {}}], "Eval": [{"CELoss": {}}]},
            "Optimizer": MOMENTUM,
            "DataLoader": {
                "Train": read_split(images, "train", batch_size, train_dataset),
                "Eval": read_split(images, "val", 4, eval_dataset),
            },
            "Metric": {"Eval": [{"TopkAcc": {"topk": [1]}}]},
            **dict(sections),
        }
        checked, faults = check_config(config)
        assert not faults
        return checked

    return make
