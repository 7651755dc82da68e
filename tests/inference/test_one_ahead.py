"""Items that are made while their predecessors are in use."""

import threading

import pytest

from ppcls.inference.one_ahead import one_ahead


def test_the_next_item_is_made_while_the_present_one_is_in_use():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    seen = []
    for item in one_ahead(items()):
        if item + 1 < len(made):
            assert made[item + 1].wait(timeout=10)
        if item + 2 < len(made):
            assert not made[item + 2].is_set()
        seen.append(item)
    assert seen == [0, 1, 2, 3]


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("the second")

    received = one_ahead(items())
    assert next(received) == 1
    with pytest.raises(ValueError, match="the second"):
        next(received)


def test_stopping_early_waits_for_nothing():
    release = threading.Event()

    def items():
        yield 1
        release.wait()
        yield 2

    received = one_ahead(items())
    assert next(received) == 1
    received.close()  # It would hang.
    release.set()
