"""Multi-label metrics against plain NumPy."""

import threading

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.registry import METRICS

SAMPLES, CLASSES = 53, 6
NAMES = ["HammingDistance", "AccuracyScore", "MultiLabelMAP", "ATTRMetric"]


@pytest.fixture
def case():
    rng = np.random.default_rng(11)
    labels = (rng.random((SAMPLES, CLASSES)) < 0.3).astype("float32")
    logits = (labels + rng.standard_normal((SAMPLES, CLASSES))).astype("float32")
    return logits, labels


def measure(spec, logits, labels, sizes=(20, 20, 13)):
    metric = METRICS.build(spec)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        metric.update(paddle.to_tensor(logits[part]), paddle.to_tensor(labels[part]))
        start += size
    return metric


def decisions(logits, threshold=0.5):
    return 1 / (1 + np.exp(-logits.astype("float64"))) > threshold


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_hamming_distance(case, threshold):
    logits, labels = case
    spec = {"HammingDistance": {"bi_threshold": threshold}}
    expected = (decisions(logits, threshold) != labels).mean()
    assert measure(spec, logits, labels).compute() == {"HammingDistance": expected}


def test_accuracy_of_decisions_and_of_images(case):
    logits, labels = case
    right = decisions(logits) == labels
    by_label = measure({"AccuracyScore": {"base": "label"}}, logits, labels)
    assert by_label.compute() == {"AccuracyScore": right.mean()}
    by_sample = measure({"AccuracyScore": {"base": "sample"}}, logits, labels)
    assert by_sample.compute() == {"AccuracyScore": right.all(axis=1).mean()}
    assert 0 < right.all(axis=1).mean() < right.mean()


def average_precision(scores, labels):
    """The definition: the mean over the positives of the precision at their rank."""
    precisions = [labels[scores >= scores[index]].mean() for index in np.flatnonzero(labels)]
    return np.mean(precisions)


def test_mean_average_precision(case):
    logits, labels = case
    logits = np.round(logits, 1)  # equal scores among them
    expected = np.mean([average_precision(s, y) for s, y in zip(logits.T, labels.T)])
    value = measure("MultiLabelMAP", logits, labels).compute()["MultiLabelMAP"]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_eleven_point_average_precision():
    logits = np.array([[4.0], [3.0], [2.0], [1.0]], dtype="float32")
    labels = np.array([[1.0], [0.0], [1.0], [0.0]], dtype="float32")
    # Precision 1 up to recall 0.5 (six points), then 2/3 (five points).
    metric = measure({"MultiLabelMAP": {"map_type": "11point"}}, logits, labels, sizes=[4])
    np.testing.assert_allclose(metric.compute()["MultiLabelMAP"], (6 + 5 * 2 / 3) / 11)


def test_a_class_without_images_is_left_out(case):
    logits, labels = case
    labels[:, 2] = 0
    rest = [0, 1, 3, 4, 5]
    expected = np.mean([average_precision(logits[:, c], labels[:, c]) for c in rest])
    value = measure("MultiLabelMAP", logits, labels).compute()["MultiLabelMAP"]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_labels_do_not_count(case, name):
    logits, labels = case
    labels[5, 1] = labels[30, 4] = -1
    flipped = logits.copy()
    flipped[5, 1], flipped[30, 4] = -logits[5, 1], -logits[30, 4]
    one, other = (measure(name, x, labels).compute() for x in (logits, flipped))
    assert one == other


@pytest.mark.parametrize("name", NAMES)
def test_class_numbers_are_refused(case, name):
    logits, _ = case
    with pytest.raises(ConfigError, match=f"{name} is for images with several classes"):
        measure(name, logits, np.zeros(SAMPLES, dtype="int64"), sizes=[SAMPLES])


class Processes:
    """Sums tensors over threads that stand for processes."""

    def __init__(self, count):
        self.count = count
        self.barrier = threading.Barrier(count)
        self.tensors = {}

    def total(self, rank):
        def reduce_sum(tensor):
            self.tensors[rank] = tensor.numpy()
            self.barrier.wait(timeout=10)
            total = sum(self.tensors[r] for r in range(self.count))
            self.barrier.wait(timeout=10)
            return paddle.to_tensor(total)

        return reduce_sum


@pytest.mark.parametrize("name", NAMES)
def test_processes_with_uneven_shares_get_the_whole(case, name):
    logits, labels = case
    whole = measure(name, logits, labels).compute()
    processes = Processes(3)
    shares = [slice(0, 30), slice(30, 53), slice(53, 53)]  # the last one has no images
    results = {}

    def work(rank):
        part = shares[rank]
        size = part.stop - part.start
        metric = measure(name, logits[part], labels[part], [size] if size else [])
        metric.reduce(processes.total(rank), rank, 3)
        results[rank] = metric.compute()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    for rank in range(3):
        assert results[rank] == pytest.approx(whole, rel=1e-12)


def test_no_images_give_no_value():
    assert all(METRICS.build(name).compute() == {} for name in NAMES)


def test_attributes_by_hand():
    # Predicted: [1, 0], [1, 1], [0, 0], [0, 1]; the last image's second attribute is unknown.
    logits = np.array([[3, -3], [3, 3], [-3, -3], [-3, 3]], dtype="float32")
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, -1]], dtype="float32")
    values = measure("ATTRMetric", logits, labels, sizes=[3, 1]).compute()
    expected = {
        "ma": (1 / 2 + 1 / 2) / 2 * 0.5 + (1 / 2 + 1) / 2 * 0.5,
        "label_f1": (2 / 4 + 2 / 3) / 2,
        "label_pos_recall": 1 / 2,
        "label_neg_recall": (1 / 2 + 1) / 2,
        "instance_f1": 2 * (1.5 / 4) * (2 / 4) / (1.5 / 4 + 2 / 4),
        "instance_acc": (1 + 1 / 2 + 0 + 0) / 4,
        "instance_prec": (1 + 1 / 2 + 0 + 0) / 4,
        "instance_recall": (1 + 1 + 0 + 0) / 4,
    }
    assert list(values) == list(expected)
    np.testing.assert_allclose(list(values.values()), list(expected.values()), rtol=1e-12)


def test_the_threshold_of_attributes_is_a_probability():
    logits = np.array([[0.2], [-0.2]], dtype="float32")
    labels = np.array([[1.0], [0.0]], dtype="float32")
    assert measure("ATTRMetric", logits, labels, [2]).compute()["ma"] == 1
    strict = measure({"ATTRMetric": {"threshold": 0.6}}, logits, labels, [2])
    assert strict.compute()["ma"] == 0.5
