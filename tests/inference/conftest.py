"""The small model, its export in both engines' formats, and files to predict."""

import pytest
import yaml

from ppcls.engine.exporter import export_model
from tests.inference.small_model import (
    ARCH,
    TRANSFORMS,
    build_seeded,
    make_picture,
    new_description,
    to_jpeg,
    write_training_config,
)


@pytest.fixture(scope="session")
def model():
    return build_seeded(ARCH)


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """The folder of an export for both engines."""
    folder = tmp_path_factory.mktemp("export") / "inference"
    export_model(model, folder, new_description(), formats=("pir", "onnx"))
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of seven JPEG files."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(7):
        (folder / f"photo{number}.jpg").write_bytes(to_jpeg(make_picture(number)))
    return folder


@pytest.fixture
def photos_with_a_truncated_one(photos, tmp_path):
    """The seven files, the third one cut in half."""
    for path in photos.iterdir():
        content = path.read_bytes()
        is_cut = path.name == "photo2.jpg"
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if is_cut else content)
    return tmp_path


@pytest.fixture(scope="session")
def training_config(model, tmp_path_factory):
    """A configuration that leads to the weights of `model`."""
    folder = tmp_path_factory.mktemp("training")
    return write_training_config(folder, model, ARCH, TRANSFORMS, [3, 32, 32], topk=3)


@pytest.fixture(scope="session")
def config_path(training_config, photos, tmp_path_factory):
    """A configuration that trains and evaluates on the photos, labelled 0, 1, 2, ..."""
    folder = tmp_path_factory.mktemp("evaluation")
    names = sorted(path.name for path in photos.iterdir())
    (folder / "list.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)))
    config = yaml.safe_load(training_config.read_text())
    section = {
        "dataset": {
            "name": "ImageNetDataset",
            "image_root": str(photos),
            "cls_label_path": str(folder / "list.txt"),
            "transform_ops": config["Infer"].pop("transforms"),
        },
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 3},
        "loader": {"num_workers": 0},
    }
    config["DataLoader"] = {"Train": section, "Eval": section}
    config["Loss"] = {"Eval": [{"CELoss": {"weight": 1.0}}]}
    config["Metric"] = {"Eval": [{"TopkAcc": {"topk": [1, 5]}}]}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
