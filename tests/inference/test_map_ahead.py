"""Results that are computed while their predecessors are in use."""

import threading

import pytest

from ppcls.inference.map_ahead import map_ahead


def test_the_next_ones_are_computed_while_the_present_one_is_in_use():
    computed = [threading.Event() for _ in range(6)]

    def compute(number):
        computed[number].set()
        return number * 10

    seen = []
    for number, result in enumerate(map_ahead(compute, range(6), ahead=2, threads=2)):
        for coming in computed[: number + 3]:
            assert coming.wait(timeout=10)
        assert not any(event.is_set() for event in computed[number + 3 :])
        seen.append(result)
    assert seen == [0, 10, 20, 30, 40, 50]


def test_as_many_at_a_time_as_there_are_threads():
    together = threading.Barrier(3, timeout=10)
    results = map_ahead(lambda number: together.wait() >= 0, range(6), ahead=3, threads=3)
    assert list(results) == [True] * 6


def test_without_going_ahead_items_are_asked_for_one_by_one():
    asked = []

    def items():
        for number in range(3):
            asked.append(number)
            yield number

    for number in map_ahead(lambda number: number, items(), ahead=0, threads=1):
        assert asked == list(range(number + 1))
    assert asked == [0, 1, 2]


def test_an_error_comes_in_its_place():
    def compute(number):
        if number == 1:
            raise ValueError("the second")
        return number

    received = map_ahead(compute, range(3), ahead=2, threads=2)
    assert next(received) == 0
    with pytest.raises(ValueError, match="the second"):
        next(received)


def test_stopping_early_waits_for_nothing():
    release = threading.Event()
    received = map_ahead(lambda number: number == 0 or release.wait(), range(2), 1, threads=1)
    assert next(received)
    received.close()  # It would hang.
    release.set()
