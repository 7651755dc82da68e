"""Top-k accuracy against a count in NumPy."""

import logging

import numpy as np
import paddle
import pytest

from ppcls.metric import build_metrics
from ppcls.registry import METRICS


def topk(ks=(1, 5)):
    return METRICS.build({"TopkAcc": {"topk": ks}})


def feed(metric, logits, labels, sizes):
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        metric.update(paddle.to_tensor(logits[part]), paddle.to_tensor(labels[part]))
        start += size
    assert start == len(labels)
    return metric


def counted(logits, labels, k):
    best = np.argsort(-logits, axis=1)[:, :k]
    return (best == labels[:, None]).any(axis=1).mean()


@pytest.fixture
def predictions():
    rng = np.random.default_rng(3)
    return rng.standard_normal((203, 10)).astype("float32"), rng.integers(0, 10, 203)


def test_equals_the_count_over_uneven_batches(predictions):
    logits, labels = predictions
    metric = feed(topk([1, 3, 5]), logits, labels, [64, 64, 64, 11])
    assert metric.compute() == {f"top{k}": counted(logits, labels, k) for k in (1, 3, 5)}


def test_accepts_one_k_and_a_column_of_labels(predictions):
    logits, labels = predictions
    metric = feed(topk(2), logits, labels[:, None], [203])
    assert metric.compute() == {"top2": counted(logits, labels, 2)}


def test_order_of_the_list_does_not_matter(predictions):
    logits, labels = predictions
    metric = feed(topk([5, 1]), logits, labels, [203])
    assert metric.compute() == {
        "top5": counted(logits, labels, 5),
        "top1": counted(logits, labels, 1),
    }


def test_shards_add_up_exactly(predictions):
    logits, labels = predictions
    whole = feed(topk(), logits, labels, [203])
    left = feed(topk(), logits[:100], labels[:100], [64, 36])
    right = feed(topk(), logits[100:], labels[100:], [103])
    reduced = topk()
    reduced.load_state(left.state() + right.state())
    assert reduced.compute() == whole.compute()
    left.merge(right.state())
    assert left.compute() == whole.compute()


def test_a_state_is_a_copy(predictions):
    logits, labels = predictions
    metric = topk()
    empty = metric.state()
    feed(metric, logits, labels, [203])
    assert empty.tolist() == [0, 0, 0]
    metric.reset()
    assert metric.compute() == {}


def test_k_above_the_number_of_classes_is_reported_once(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ppcls"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("ppcls"), "propagate", True)
    logits, labels = np.eye(3, dtype="float32"), np.array([0, 1, 0])
    with caplog.at_level("WARNING", logger="ppcls"):
        metric = feed(topk([1, 5]), np.tile(logits, (2, 1)), np.tile(labels, 2), [3, 3])
    assert metric.compute() == {"top1": 2 / 3, "top5": 1.0}
    messages = [record.message for record in caplog.records]
    assert len(messages) == 1
    assert "top5" in messages[0]
    assert "3 classes" in messages[0]


def test_rows_with_nan_are_wrong():
    logits = np.array([[0, 1, 2], [np.nan] * 3, [np.nan, 0, 1]], dtype="float32")
    metric = feed(topk([1, 3]), logits, np.array([2, 0, 0]), [3])
    assert metric.compute() == {"top1": 1 / 3, "top3": 1 / 3}


def test_soft_labels_are_skipped(predictions):
    logits, labels = predictions
    rows = np.eye(10, dtype="float32")[labels]
    metric = feed(topk(), logits, rows, [203])
    assert metric.compute() == {}
    feed(metric, logits, labels, [203])
    assert metric.compute()["top1"] == counted(logits, labels, 1)


def test_outputs_of_several_heads(predictions):
    logits, labels = predictions
    metric = topk(1)
    outputs = {"logits": paddle.to_tensor(logits), "aux": None}
    metric.update(outputs, paddle.to_tensor(labels))
    assert metric.compute() == {"top1": counted(logits, labels, 1)}


def test_build_metrics_of_an_absent_list():
    assert build_metrics(None) == []
    assert [type(m).__name__ for m in build_metrics([{"TopkAcc": {"topk": [1]}}])] == ["TopkAcc"]
