"""Processes that watch over each other: what happens where they cannot connect.

That a run ends when one of its processes is killed is in `tests/test_killed_runs.py`.
"""

from ppcls.engine import peers
from ppcls.engine.environment import Environment


class OneOfTwo(Environment):
    """A process whose peer never answers; nothing is summed."""

    def sum(self, tensor):
        return tensor


def enter(rank, monkeypatch):
    """What is said when a process of two waits a tenth of a second for the other."""
    said = []
    monkeypatch.setattr(peers, "_SECONDS_TO_JOIN", 0.1)
    monkeypatch.setattr(peers.logger, "warning", said.append)
    with peers.PeerWatch(OneOfTwo(device="cpu", rank=rank, world_size=2)):
        pass
    (sentence,) = said
    return sentence


def test_the_first_goes_on_without_the_others(monkeypatch):
    assert enter(0, monkeypatch).startswith("1 process(es) did not reach port ")


def test_another_goes_on_without_the_first(monkeypatch):
    # Port 0, as nothing was summed; nobody listens there.
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", "127.0.0.1:6170,127.0.0.1:6171")
    assert enter(1, monkeypatch).startswith("127.0.0.1:0 cannot be reached (")
