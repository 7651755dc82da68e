"""Exports of two small models, and their offline predictions."""

import importlib.util
import shutil

import pytest

from ppcls.inference import Predictor
from tests.inference.small_model import make_picture, new_description, to_jpeg

#: What the tests need beside the package: the extras [serve] and [onnx].
PACKAGES = ("fastapi", "uvicorn", "multipart", "prometheus_client", "onnx", "onnxruntime")

if all(importlib.util.find_spec(name) for name in PACKAGES):
    from tests.serving.small_server import running, write_model
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """An exported folder for ONNX Runtime, made without training and exporting a model."""
    folder = tmp_path_factory.mktemp("export") / "inference"
    folder.mkdir()
    write_model(folder / "inference.onnx")
    new_description(model_name="small").write(folder)
    return folder


@pytest.fixture(scope="session")
def other_exported(exported, tmp_path_factory):
    """The same weights under other names of classes, which say who answered."""
    folder = tmp_path_factory.mktemp("other") / "inference"
    shutil.copytree(exported, folder)
    new_description(model_name="small", label_names={i: f"other {i}" for i in range(10)}).write(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def jpegs():
    """Twelve image files of different content."""
    return [to_jpeg(make_picture(seed)) for seed in range(12)]


@pytest.fixture(scope="session")
def offline(exported, jpegs):
    """What the predictor says about each of `jpegs`, all ten classes."""
    return Predictor(exported, "onnxruntime", topk=10).predict(jpegs)


@pytest.fixture(scope="module")
def server(exported):
    """A client of a server with default settings."""
    with running([exported]) as (client, _, _):
        yield client
