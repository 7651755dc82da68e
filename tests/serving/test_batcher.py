"""Dynamic batching without a model."""

import threading
import time

import numpy as np
import pytest

from ppcls.serving.batcher import DynamicBatcher
from ppcls.serving.errors import Busy, DeadlineExceeded, TooLarge


class Engine:
    """Doubles its input; holds runs back until `gate` is set."""

    def __init__(self):
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, arrays):
        self.gate.wait(10)
        self.sizes.append(len(arrays))
        return arrays * 2


@pytest.fixture
def engine():
    return Engine()


def soon():
    return time.monotonic() + 10


def test_rows_go_back_to_their_requests(engine):
    batcher = DynamicBatcher(engine, max_batch_size=4, max_delay=0.01, capacity=100)
    with batcher.admit(30) as ticket:
        futures = [ticket.submit(np.array([float(i)]), soon()) for i in range(30)]
        assert [future.result(10)[0] for future in futures] == [2.0 * i for i in range(30)]
    assert sum(engine.sizes) == 30
    assert max(engine.sizes) <= 4
    assert len(engine.sizes) < 20
    assert batcher.admitted == 0
    batcher.close()


def test_one_client_does_not_wait_for_others(engine):
    batcher = DynamicBatcher(engine, max_batch_size=8, max_delay=5, capacity=8)
    started = time.monotonic()
    for _ in range(3):
        with batcher.admit(1) as ticket:
            ticket.submit(np.zeros(1), soon()).result(10)
    assert time.monotonic() - started < 2
    batcher.close()


def test_a_batch_waits_for_images_in_preparation(engine):
    batcher = DynamicBatcher(engine, max_batch_size=8, max_delay=5, capacity=8)
    with batcher.admit(1) as first, batcher.admit(1) as second:
        waiting = first.submit(np.zeros(1), soon())
        time.sleep(0.05)
        assert not waiting.done()
        second.submit(np.zeros(1), soon()).result(10)
        waiting.result(10)
    assert engine.sizes == [2]
    # One that never comes holds a batch back no longer than its request lasts.
    with batcher.admit(1) as first:
        with batcher.admit(1):
            waiting = first.submit(np.zeros(1), soon())
        waiting.result(2)
    batcher.close()


def test_room_is_limited_and_given_back(engine):
    batcher = DynamicBatcher(engine, max_batch_size=2, max_delay=0, capacity=3)
    with pytest.raises(TooLarge):
        batcher.admit(4)
    with batcher.admit(2):
        with pytest.raises(Busy):
            batcher.admit(2)
        with batcher.admit(1):
            pass
    engine.gate.clear()
    with batcher.admit(3) as ticket:
        futures = [ticket.submit(np.zeros(1), soon()) for _ in range(3)]
    # Given up before their run: they take no room, and the engine does not see them.
    with batcher.admit(3) as ticket:
        late = [ticket.submit(np.ones(1), soon()) for _ in range(3)]
        engine.gate.set()
        assert [future.result(10)[0] for future in late] == [2, 2, 2]
    assert sum(engine.sizes) <= 5
    assert any(future.cancelled() for future in futures)
    batcher.close()


def test_what_is_too_late_is_not_run(engine):
    batcher = DynamicBatcher(engine, max_batch_size=1, max_delay=0, capacity=3)
    engine.gate.clear()
    with batcher.admit(2) as ticket:
        ticket.submit(np.zeros(1), soon())
        late = ticket.submit(np.zeros(1), time.monotonic() + 0.02)
        time.sleep(0.05)
        engine.gate.set()
        with pytest.raises(DeadlineExceeded):
            late.result(10)
    assert engine.sizes == [1]
    batcher.close()


def test_errors_of_the_engine_reach_the_request_and_no_other():
    def run(arrays):
        if arrays[0, 0] == 1:
            raise RuntimeError("fault")
        return arrays

    batcher = DynamicBatcher(run, max_batch_size=1, max_delay=0, capacity=3)
    with batcher.admit(2) as ticket:
        bad, good = (ticket.submit(np.array([value]), soon()) for value in (1.0, 3.0))
        with pytest.raises(RuntimeError, match="fault"):
            bad.result(10)
        assert good.result(10)[0] == 3
    batcher.close()
    threads = [t for t in threading.enumerate() if t.name.startswith("batcher")]
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
