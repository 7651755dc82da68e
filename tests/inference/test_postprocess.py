"""Postprocesses against plain NumPy."""

import numpy as np
import pytest

from ppcls.errors import ConfigError, DataError
from ppcls.inference.postprocess import (
    MultiLabelThreshOutput,
    ThreshOutput,
    Topk,
    read_label_names,
    sigmoid,
    softmax,
)
from ppcls.registry import POSTPROCESSES


@pytest.fixture
def probabilities():
    return softmax(np.random.default_rng(0).normal(0, 2, (6, 10)).astype(np.float32))


def test_softmax_of_large_logits():
    logits = np.array([[1000.0, 999.0, -1000.0]], dtype=np.float32)
    expected = np.array([[np.e / (1 + np.e), 1 / (1 + np.e), 0]])
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-6)


def test_topk(probabilities):
    results = Topk(topk=3)(probabilities)
    assert len(results) == 6
    for row, result in zip(probabilities, results):
        expected = sorted(range(10), key=lambda i: -row[i])[:3]
        assert result["class_ids"] == expected
        np.testing.assert_allclose(result["scores"], row[expected], atol=5.1e-6)
        assert "label_names" not in result


def test_topk_of_more_than_there_are(probabilities):
    assert all(sorted(r["class_ids"]) == list(range(10)) for r in Topk(topk=50)(probabilities))


def test_topk_of_equal_scores_takes_the_lower_class():
    assert Topk(topk=2)(np.full((1, 4), 0.25))[0]["class_ids"] == [0, 1]


def test_thresh_output(probabilities):
    threshold = float(np.median(probabilities.max(axis=1)))
    results = ThreshOutput(threshold=threshold, default_label_index=7)(probabilities)
    best = probabilities.argmax(axis=1)
    is_over = probabilities.max(axis=1) > threshold
    assert 0 < is_over.sum() < 6
    assert [r["class_ids"] for r in results] == [
        [int(class_id) if over else 7] for class_id, over in zip(best, is_over)
    ]


def test_label_file(tmp_path, probabilities):
    path = tmp_path / "labels.txt"
    path.write_text("0 tench, Tinca tinca\n\n1 goldfish\n", encoding="utf-8")
    assert read_label_names(path) == {0: "tench, Tinca tinca", 1: "goldfish"}
    result = Topk(topk=10, class_id_map_file=str(path))(probabilities)[0]
    names = dict(zip(result["class_ids"], result["label_names"]))
    assert (names[0], names[1], names[5]) == ("tench, Tinca tinca", "goldfish", "5")


def test_bad_label_files_are_named(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("0 tench\nfish\n")
    with pytest.raises(DataError, match=r"labels\.txt, line 2: .*'fish'"):
        read_label_names(path)
    with pytest.raises(DataError, match=r"missing\.txt cannot be read"):
        read_label_names(tmp_path / "missing.txt")


def test_thresh_output_of_two_classes():
    """PaddleClas decides two classes by the probability of the second."""
    probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9]], dtype=np.float32)
    results = ThreshOutput(threshold=0.3, label_0="cat", label_1="dog")(probabilities)
    assert [r["class_ids"] for r in results] == [[0], [1], [1]]
    assert [r["label_names"] for r in results] == [["cat"], ["dog"], ["dog"]]
    np.testing.assert_allclose([r["scores"][0] for r in results], [0.8, 0.3, 0.9], atol=1e-5)


def test_sigmoid_of_large_logits():
    with np.errstate(over="raise"):
        values = sigmoid(np.array([-500.0, 0.0, 500.0], dtype=np.float32))
    np.testing.assert_allclose(values, [0, 0.5, 1], atol=1e-30)
    assert values.dtype == np.float32


def test_every_class_above_the_threshold():
    probabilities = np.array([[0.2, 0.9, 0.5], [0.1, 0.2, 0.3]], dtype=np.float32)
    postprocess = MultiLabelThreshOutput(threshold=0.5)
    postprocess.set_label_names({0: "sea", 1: "sky", 2: "sun"})
    assert postprocess(probabilities) == [
        {"class_ids": [1, 2], "scores": [0.9, 0.5], "label_names": ["sky", "sun"]},
        {"class_ids": [], "scores": [], "label_names": []},
    ]


def test_postprocesses_say_which_probabilities_they_take():
    names = set(POSTPROCESSES.names()) - {"DistillationPostProcess"}
    taken = {name: POSTPROCESSES.get(name).activation for name in names}
    assert {name for name in taken if taken[name] == "sigmoid"} == {
        "MultiLabelThreshOutput",
        "MultiLabelTopk",
        "PersonAttribute",
        "TableAttribute",
        "VehicleAttribute",
    }


def test_distillation_names_the_postprocess_of_the_student():
    postprocess = POSTPROCESSES.build(
        {"name": "DistillationPostProcess", "func": "Topk", "topk": 3, "class_id_map_file": None}
    )
    assert postprocess.spec == {"name": "Topk", "topk": 3}
    with pytest.raises(ConfigError, match="Topk takes no threshold"):
        POSTPROCESSES.build({"name": "DistillationPostProcess", "threshold": 0.5})
