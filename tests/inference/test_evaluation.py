"""`tools/eval.py`: trained and exported models with one command, and its report."""

import csv
import json

import numpy as np
import paddle
import pytest

from ppcls.commands import main
from ppcls.config import load_config
from ppcls.engine.evaluation import evaluate
from ppcls.engine.evaluation_report import (
    Predictions,
    calibration_error,
    confusion_matrix,
)
from ppcls.engine.exporter import export_model
from ppcls.errors import UserError
from tests.inference.small_model import ENGINES, TRANSFORMS, new_description


@pytest.fixture(scope="module")
def trained_results(config_path):
    return evaluate(load_config(config_path))


@pytest.mark.parametrize("engine", ENGINES)
def test_exported_model_evaluates_like_the_trained_one(
    config_path, trained_results, exported, engine
):
    results = evaluate(load_config(config_path), model_dir=exported, engine=engine)
    assert results == pytest.approx(trained_results, rel=1e-5)


def test_export_of_logits_evaluates_like_the_trained_one(
    config_path, trained_results, model, tmp_path
):
    export_model(model, tmp_path / "inference", new_description(output="logits"))
    results = evaluate(load_config(config_path), model_dir=tmp_path / "inference")
    assert results == pytest.approx(trained_results, rel=1e-5)


def test_preprocessing_of_an_export_is_its_own(config_path, model, tmp_path, trained_results):
    """A model whose export squeezes images instead of cropping them scores differently."""
    decode, _, _, *normalize = TRANSFORMS
    transforms = [decode, {"ResizeImage": {"size": [32, 32]}}, *normalize]
    folder = tmp_path / "inference"
    export_model(model, folder, new_description(transform_ops=transforms))
    results = evaluate(load_config(config_path), model_dir=folder)
    assert results["loss"] != pytest.approx(trained_results["loss"], rel=1e-3)


def test_folder_that_is_no_export_is_refused(config_path, tmp_path):
    with pytest.raises(UserError, match="not an exported model"):
        evaluate(load_config(config_path), model_dir=tmp_path)


def test_mirrored_evaluation_averages_probabilities(config_path, model):
    """The loss of the mean of two softmaxes, against NumPy."""
    config = load_config(config_path)
    from ppcls.data.loader import build_loader

    loader = build_loader(config["DataLoader"]["Eval"], "Eval", class_num=10)
    losses = []
    with paddle.no_grad():
        for batch in loader:
            views = [batch.images, paddle.flip(batch.images, axis=[3])]
            logits = np.stack([model(view).numpy() for view in views]).astype(np.float64)
            exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
            mean = (exp / exp.sum(axis=-1, keepdims=True)).mean(axis=0)
            losses += list(-np.log(mean[np.arange(len(mean)), batch.labels.numpy()]))
    assert evaluate(config, flip=True)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_report(config_path, photos, tmp_path, trained_results):
    assert main("eval", ["-c", str(config_path), "--report", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "eval_report.json").read_text())
    assert report["images"] == 7
    assert report["metrics"] == pytest.approx(trained_results)
    assert [row["images"] for row in report["classes"]] == [1] * 7 + [0] * 3
    assert report["classes"][9]["accuracy"] is None
    right = sum(row["accuracy"] for row in report["classes"][:7])
    assert right / 7 == pytest.approx(trained_results["top1"])

    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {str(path) for path in photos.iterdir()}
    label_scores = [float(row["label_score"]) for row in rows]
    assert label_scores == sorted(label_scores)
    loss = -np.log(label_scores).mean()
    assert loss == pytest.approx(trained_results["loss"], rel=1e-4)
    assert rows[0]["label"].startswith("class number ")

    with open(tmp_path / "confusion_matrix.csv", newline="") as file:
        matrix = list(csv.reader(file))
    assert sum(int(cell) for row in matrix[1:] for cell in row[1:]) == 7


def test_picture_of_the_confusion_matrix(config_path, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    evaluate(load_config(config_path), report=tmp_path)
    with Image.open(tmp_path / "confusion_matrix.png") as picture:
        assert min(picture.size) > 300


PREDICTIONS = Predictions(
    indices=np.arange(4),
    labels=np.array([0, 0, 1, 2]),
    predicted=np.array([0, 1, 1, 1]),
    scores=np.array([0.9, 0.6, 0.62, 0.3], dtype=np.float32),
    label_scores=np.array([0.9, 0.2, 0.62, 0.1], dtype=np.float32),
)


def test_confusion_matrix():
    assert confusion_matrix(PREDICTIONS, 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_calibration_error_by_hand():
    """Ten bins: {0.9: right}, {0.6: wrong, 0.62: right}, {0.3: wrong}."""
    expected = (abs(1 - 0.9) + abs(1 - 1.22) + abs(0 - 0.3)) / 4
    assert calibration_error(PREDICTIONS, bins=10) == pytest.approx(expected, abs=1e-6)
