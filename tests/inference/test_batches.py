"""The ways in which an engine runs the images of a batch."""

import threading
import time

import numpy as np
import pytest

from ppcls.inference.engines import create_engine
from ppcls.inference.engines.faster_way import FasterWay
from ppcls.inference.engines.fixed_batch import FixedBatch
from ppcls.inference.engines.side_by_side import SideBySide
from tests.inference.small_model import ENGINES, random_batch


class Counting:
    """Takes a time per run and one per image, and remembers how many images it was given."""

    name = "counting"

    def __init__(self, per_run, per_image):
        self.per_run, self.per_image = per_run, per_image
        self.counts = []

    def run_all(self, images):
        self.counts.append(len(images))
        time.sleep(self.per_run + self.per_image * len(images) ** 2)
        return [images.mean(axis=(2, 3)), images.max(axis=(2, 3))]


@pytest.mark.parametrize(("per_run", "per_image", "given"), [(0.05, 0, [6]), (0, 0.02, [1] * 6)])
def test_batches_are_run_the_faster_way(per_run, per_image, given):
    engine = Counting(per_run, per_image)
    faster = FasterWay(engine, [engine, FixedBatch(engine, 1)])
    faster.run(random_batch(1))
    assert engine.counts == [1]  # Nothing is measured before there is a choice.
    faster.run(random_batch(5))
    engine.counts.clear()
    batch = random_batch(6)
    means, largest = faster.run_all(batch)
    assert engine.counts == given
    np.testing.assert_array_equal(means, batch.mean(axis=(2, 3)))
    np.testing.assert_array_equal(largest, batch.max(axis=(2, 3)))


class Alone:
    """Takes one image at a time; says how many it had at most at the same time."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def run_all(self, images):
        assert len(images) == 1
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        # The first ones last longest: results must not come in the order in which runs end.
        time.sleep(0.05 * (1 - float(images.min())))
        with self.lock:
            self.now -= 1
        return [images.mean(axis=(2, 3)), images.max(axis=(2, 3))]


def test_images_side_by_side():
    made = []
    engine = Alone()
    side_by_side = SideBySide(lambda: made.append(engine) or engine, threads=3)
    assert not made  # Nothing is loaded for those who predict single images.
    batch = np.linspace(0, 1, 7, dtype=np.float32).reshape(7, 1, 1, 1) * np.ones((1, 3, 8, 8))
    for _ in range(2):
        means, largest = side_by_side.run_all(batch)
        np.testing.assert_array_equal(means, batch.mean(axis=(2, 3)))
        np.testing.assert_array_equal(largest, batch.max(axis=(2, 3)))
    assert engine.most == 3
    assert len(made) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_several_cores_run_the_images_of_a_batch_side_by_side(exported, name, monkeypatch):
    monkeypatch.setattr(
        "ppcls.inference.engines.faster_way._seconds", lambda way, _: -isinstance(way, SideBySide)
    )
    batch = random_batch(5)
    expected = create_engine(exported, "onnxruntime").run(batch)
    engine = create_engine(exported, name, threads=2)
    np.testing.assert_allclose(engine.run(batch), expected, atol=1e-5)
    assert name == "paddle" or isinstance(engine._fastest, SideBySide)
