"""`tools/eval.py`: trained and exported models with one command, and its report."""

import csv
import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls.commands import main
from ppcls.config import load_config, to_plain
from ppcls.data.transform import build_transforms
from ppcls.engine.averaged_views import AveragedViews
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


def mean_softmax(model, views):
    """(V, B, C, H, W) -> (B, class_num), in float64 NumPy."""
    with paddle.no_grad():
        logits = np.stack([model(paddle.to_tensor(view)).numpy() for view in views])
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return (exp / exp.sum(axis=-1, keepdims=True)).mean(axis=0)


def crops_by_hand(path):
    """The corners and the centre of a photo that the recipe resizes and crops: (5, 3, 32, 32)."""
    decode, resize, _, *rest = TRANSFORMS
    image = build_transforms([decode, resize])(path.read_bytes())
    height, width = image.shape[:2]
    assert (height, width) != (32, 32)
    bottom, right = height - 32, width - 32
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    prepare = build_transforms(rest)
    return np.stack([prepare(image[top : top + 32, left : left + 32]) for top, left in places])


@pytest.mark.parametrize(
    ("arguments", "views"), [({"flip": True}, 2), ({"crops": 5}, 5), ({"crops": 10}, 10)]
)
def test_views_are_averaged_as_probabilities(config_path, model, photos, arguments, views):
    """The loss of the mean of the softmaxes of hand-made views."""
    crops = np.stack([crops_by_hand(path) for path in sorted(photos.iterdir())], axis=1)
    made = crops[4:] if views == 2 else crops
    if views != 5:
        made = np.concatenate([made, made[..., ::-1]])
    assert len(made) == views
    mean = mean_softmax(model, made)
    expected = -np.log(mean[np.arange(7), np.arange(7)]).mean()
    results = evaluate(load_config(config_path), **arguments)
    assert results["loss"] == pytest.approx(expected, rel=1e-5)
    assert results["top1"] == pytest.approx((mean.argmax(axis=1) == np.arange(7)).mean())


@pytest.mark.parametrize("engine", ENGINES)
def test_crops_of_an_export_are_those_of_the_trained_model(config_path, exported, engine):
    """Its output is probabilities; they are averaged, as those of the model are."""
    config = load_config(config_path)
    results = evaluate(config, model_dir=exported, engine=engine, crops=10)
    assert results == pytest.approx(evaluate(config, crops=10), rel=1e-5)


def test_views_of_several_labels_average_sigmoids():
    logits = np.random.RandomState(0).randn(3, 2, 4).astype(np.float32) * 4

    class Replay(paddle.nn.Layer):
        class_num = 4

        def forward(self, images):
            return paddle.to_tensor(logits)[int(images[0, 0, 0, 0])]

    views = paddle.arange(3, dtype="float32").reshape([1, 3, 1, 1, 1]).expand([2, 3, 3, 4, 4])
    averaged = AveragedViews(Replay(), multi_label=True)(views).numpy().astype(np.float64)
    expected = (1 / (1 + np.exp(-logits.astype(np.float64)))).mean(axis=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-averaged)), expected, rtol=1e-5)


def test_crops_need_a_crop(config_path):
    config = load_config(config_path)
    section = to_plain(config["DataLoader"]["Eval"])
    section["dataset"]["transform_ops"] = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}]
    with pytest.raises(UserError, match="ResizeImage, ToCHWImage, 0 are CropImage"):
        evaluate({**config, "DataLoader": {"Eval": section}}, crops=5)


def test_slowest_images_from_workers(config_path, photos, tmp_path):
    config = load_config(config_path, ["DataLoader.Eval.loader.num_workers=2"])
    evaluate(config, report=tmp_path)
    with open(tmp_path / "slowest_images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {str(path) for path in photos.iterdir()}
    times = [float(row["milliseconds"]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert times[-1] > 0
    for row in rows:
        assert (row["width"], row["height"]) == ("60", "44")
        assert int(row["bytes"]) == Path(row["file"]).stat().st_size


def test_report(config_path, photos, tmp_path, trained_results):
    assert main("eval", ["-c", str(config_path), "--report", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "eval_report.json").read_text())
    assert report["images"] == 7
    wrong = report["most_wrong"]
    assert len(wrong) == round(7 * (1 - trained_results["top1"]))
    assert all(row["label"] != row["predicted"] for row in wrong)
    assert (tmp_path / "most_wrong.png").exists()
    assert len(report["slowest"]) == 7
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
