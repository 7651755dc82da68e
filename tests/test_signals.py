"""Requests to stop."""

import os
import signal

import pytest

from ppcls.utils.signals import StopRequest


@pytest.fixture
def end():
    """What would end the process: the signals that came through, SIGTERM among them."""
    ended = []
    previous = signal.signal(signal.SIGTERM, lambda signum, frame: ended.append(signum))
    yield ended
    signal.signal(signal.SIGTERM, previous)


def test_sigterm_is_one_request_however_often_it_comes(end):
    """Paddle's launcher sends it three times."""
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
    assert end == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert end == [signal.SIGTERM]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_request_ends_at_once(end, first):
    # Shells start background jobs with Ctrl-C ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), first)
            assert stop.signum == first
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
