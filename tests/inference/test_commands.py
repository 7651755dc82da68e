"""`tools/infer.py` and `deploy/python/predict_cls.py`, run as a user runs them."""

import csv
import json
import re

import pytest

from ppcls.commands.predict import PredictionOptions, format_result, load_options
from ppcls.errors import ConfigError
from ppcls.inference import Predictor
from tests.inference.small_model import run_script

PREDICT = "deploy/python/predict_cls.py"


def test_infer_equals_the_export(exported, photos, training_config):
    done = run_script("tools/infer.py", "-c", training_config, "-o", f"Infer.infer_imgs={photos}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    results = [json.loads(line) for line in lines if line.startswith("{")]
    expected = Predictor(exported).predict(photos)
    assert [r["file_name"] for r in results] == [r["file_name"] for r in expected]
    for result, other in zip(results, expected):
        assert result["class_ids"] == other["class_ids"]
        assert result["label_names"] == other["label_names"]
        assert result["scores"] == pytest.approx(other["scores"], abs=5e-5)
    assert lines[-1] == "predicted 7 of 7 images"


def test_predict_prints_and_writes_jsonl(exported, photos, tmp_path):
    output = tmp_path / "new" / "predictions.jsonl"
    done = run_script(
        PREDICT,
        *("-o", f"Global.infer_imgs={photos}"),
        *("-o", f"Global.inference_model_dir={exported}"),
        *("-o", "Global.batch_size=4"),
        *("-o", "Global.use_gpu=False"),
        *("-o", "Global.enable_mkldnn=True"),
        *("-o", "Global.cpu_num_threads=1"),
        *("-o", "Global.use_onnx=True"),
        *("--output", output),
    )
    assert done.returncode == 0, done.stderr
    expected = Predictor(exported, engine="onnxruntime", batch_size=4).predict(photos)
    assert [json.loads(line) for line in output.read_text().splitlines()] == expected
    lines = [line for line in done.stdout.splitlines() if ":\t" in line]
    for line, result in zip(lines, expected):
        name, ids, scores = re.match(
            r"(\S+):\tclass id\(s\): \[(.*)\], score\(s\): \[(.*)\], label_name\(s\): \[.*\]$", line
        ).groups()
        assert result["file_name"].endswith(name)
        assert [int(i) for i in ids.split(", ")] == result["class_ids"]
        assert [float(s) for s in scores.split(", ")] == pytest.approx(result["scores"], abs=5.1e-3)
    assert len(lines) == 7


def test_predict_goes_on_after_a_truncated_image(exported, photos_with_a_truncated_one, tmp_path):
    output = tmp_path / "predictions.csv"
    done = run_script(
        PREDICT,
        *("-o", f"Global.infer_imgs={photos_with_a_truncated_one}"),
        *("-o", f"Global.inference_model_dir={exported}"),
        *("-o", "Global.use_onnx=False"),
        *("-o", "Global.topk=2"),
        *("--output", output),
    )
    assert done.returncode == 1
    assert "photo2.jpg:\terror: " in done.stdout
    assert done.stdout.splitlines()[-1] == "predicted 6 of 7 images"
    with open(output, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predictor = Predictor(exported, engine="paddle", topk=2)
    expected = predictor.predict(photos_with_a_truncated_one)
    assert [row["file_name"] for row in rows] == [r["file_name"] for r in expected]
    assert rows[2]["error"] == expected[2]["error"]
    assert rows[2]["class_ids"] == ""
    assert json.loads(rows[3]["class_ids"]) == expected[3]["class_ids"]
    assert json.loads(rows[3]["label_names"]) == expected[3]["label_names"]


def test_faults_are_sentences(tmp_path):
    done = run_script(PREDICT, "-o", "Global.infer_img=a.jpg", "-o", "Global.batch_size=0")
    assert done.returncode == 1
    assert "unknown key; did you mean 'infer_imgs'?" in done.stderr
    assert "Global.batch_size: expected a number >= 1, received 0" in done.stderr
    assert "Traceback" not in done.stderr
    done = run_script(
        PREDICT, "-o", "Global.infer_imgs=a.jpg", "-o", f"Global.inference_model_dir={tmp_path}"
    )
    assert done.returncode == 1
    assert "is not an exported model" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_of_unknown_kind(exported, photos, tmp_path):
    done = run_script(
        PREDICT,
        *("-o", f"Global.infer_imgs={photos}"),
        *("-o", f"Global.inference_model_dir={exported}"),
        *("--output", tmp_path / "predictions.txt"),
    )
    assert done.returncode == 1
    assert ".jsonl or .csv" in done.stderr


def test_the_delivered_settings_are_the_defaults(repo_root):
    path = repo_root / "deploy" / "configs" / "inference_cls.yaml"
    assert load_options(path) == load_options() == PredictionOptions()


def test_preprocessing_cannot_be_set():
    with pytest.raises(ConfigError, match="PreProcess: unknown section"):
        load_options(overrides=["PreProcess.transform_ops=[]"])


def test_line_format():
    result = {
        "file_name": "photos/cat.jpg",
        "class_ids": [3, 5],
        "scores": [0.91234, 0.05],
        "label_names": ["cat", "dog"],
    }
    assert format_result(result) == (
        "cat.jpg:\tclass id(s): [3, 5], score(s): [0.91, 0.05], label_name(s): ['cat', 'dog']"
    )
