"""Postprocesses against plain NumPy."""

import numpy as np
import pytest

from ppcls.errors import DataError
from ppcls.inference.postprocess import ThreshOutput, Topk, read_label_names, softmax


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
