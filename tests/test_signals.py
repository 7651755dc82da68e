"""Requests to stop."""

import os
import signal

import pytest

from ppcls.utils import signals
from ppcls.utils.signals import StopRequest


def test_sigterm_three_times_is_one_request():
    """As Paddle's launcher sends it."""
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM


def test_ctrl_c_twice_ends_at_once():
    # Shells start background jobs with Ctrl-C ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)


def test_sigterm_much_later_ends_the_process(monkeypatch):
    ended = []
    previous = signal.signal(signal.SIGTERM, lambda signum, frame: ended.append(signum))
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            monkeypatch.setattr(signals, "_SECONDS_OF_ONE_REQUEST", 0.0)
            assert ended == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, previous)
