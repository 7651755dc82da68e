"""Multi-label classification from list file to exported model."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from ppcls.config import load_config
from ppcls.engine.deployment import build_trained_model, export, infer
from ppcls.engine.evaluation import evaluate
from ppcls.engine.trainer import Trainer
from ppcls.inference import Predictor
from tests.engine.tiny_dataset import read_split, write_split

CLASSES = 3


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    """Pictures whose colour channels are bright or not; each bright channel is a class."""
    folder = tmp_path_factory.mktemp("multi_label")
    random = np.random.RandomState(0)

    def draw(index):
        labels = [(index >> channel) & 1 for channel in range(CLASSES)]
        pixels = random.randint(0, 40, (32, 32, CLASSES)) + 200 * np.array(labels)
        return pixels, ",".join(map(str, labels))

    write_split(folder, "train", 32, draw)
    write_split(folder, "val", 8, draw)
    (folder / "names.txt").write_text("0 red\n1 green\n2 blue\n")

    dataset, sampler = {"name": "MultiLabelDataset"}, {"shuffle": True}
    config = {
        "Global": {
            "device": "cpu",
            "epochs": 12,
            "eval_interval": 6,
            "output_dir": str(folder / "run"),
            "save_inference_dir": str(folder / "inference"),
            "image_shape": [3, 32, 32],
            "use_multilabel": True,
        },
        "Arch": {
            "name": "DSNet",
            "class_num": CLASSES,
            "embed_dim": [8, 16, 24, 32],
            "depth": [1, 1, 1, 1],
            "num_heads": [1, 2, 3, 4],
            "downsamples": [4, 2, 1, 1],
        },
        "Loss": {"Train": [{"MultiLabelLoss": {}}], "Eval": [{"MultiLabelLoss": {}}]},
        "Optimizer": {"name": "AdamW", "lr": {"name": "ConstLR", "learning_rate": 0.005}},
        "DataLoader": {
            "Train": read_split(folder, "train", 8, dataset, sampler),
            "Eval": read_split(folder, "val", 8, dataset, sampler),
        },
        "Infer": {
            "PostProcess": {
                "name": "MultiLabelThreshOutput",
                "threshold": 0.5,
                "class_id_map_file": str(folder / "names.txt"),
            }
        },
        "Metric": {
            "Train": [{"HammingDistance": None}],
            "Eval": [
                {"HammingDistance": None},
                {"AccuracyScore": {"base": "sample"}},
                {"MultiLabelMAP": None},
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def summary(config_path):
    return Trainer(load_config(config_path)).fit()


def test_learns_colours_and_keeps_the_smallest_distance(summary):
    folder = Path(summary["folder"])
    history = json.loads((folder / "train_results.json").read_text())["history"]
    rows = [row for row in history if "eval_HammingDistance" in row]
    assert rows[-1]["eval_MultiLabelMAP"] > 0.95
    # The best model has the smallest distance; a larger one would be the best accuracy's way.
    assert -summary["best_metric"] == min(row["eval_HammingDistance"] for row in rows)


def test_evaluation_infer_and_export_agree(summary, config_path):
    best = f"Global.pretrained_model={summary['folder']}/best_model"
    config = load_config(config_path, [best])
    results = evaluate(config)
    assert results["HammingDistance"] == -summary["best_metric"]

    images = str(config_path.parent / "val3.png")
    predicted = infer(config, images)[0]
    with paddle.no_grad():
        pixels = np.asarray(Image.open(images), dtype=np.float32) / 255
        normal = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        batch = paddle.to_tensor(normal.transpose(2, 0, 1)[None].astype(np.float32))
        logits = build_trained_model(config)(batch).numpy()[0].astype(np.float64)
    probabilities = 1 / (1 + np.exp(-logits))
    assert predicted["class_ids"] == np.flatnonzero(probabilities >= 0.5).tolist()
    assert predicted["label_names"] == [
        ["red", "green", "blue"][class_id] for class_id in predicted["class_ids"]
    ]
    np.testing.assert_allclose(
        predicted["scores"], probabilities[predicted["class_ids"]], atol=2e-5
    )

    report = export(config)
    deployed = Predictor(report.folder).predict(images)[0]
    assert deployed["class_ids"] == predicted["class_ids"]
    assert deployed["label_names"] == predicted["label_names"]
    np.testing.assert_allclose(deployed["scores"], predicted["scores"], atol=1e-4)

    all_classes = Predictor(report.folder, topk=3).predict(images)[0]
    np.testing.assert_allclose(sorted(all_classes["scores"]), sorted(probabilities), atol=1e-4)


def test_logits_are_exported_with_their_activation(summary, config_path, tmp_path):
    best = f"Global.pretrained_model={summary['folder']}/best_model"
    config = load_config(config_path, [best])
    image = str(config_path.parent / "val5.png")
    report = export(config, tmp_path / "logits", output="logits")
    one, other = infer(config, image)[0], Predictor(report.folder).predict(image)[0]
    assert one["class_ids"] == other["class_ids"]
    np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
