"""Progress of long work, on a terminal and elsewhere."""

import io

import pytest

from ppcls.utils import progress
from ppcls.utils.progress import Progress, format_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Progress(40, "Train", stream=stream) as bar:
        for _ in range(4):
            bar.advance(10)
    assert "Train" in stream.getvalue()
    assert "0/40" in stream.getvalue()


def test_elsewhere_a_line_every_ten_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress(1000, "Train", stream=stream) as lines:
        for _ in range(10):
            now[0] += 4
            lines.advance(100)
    assert stream.getvalue().splitlines() == [
        "Train: 300/1000 images, 25/s, 0:28 left",
        "Train: 600/1000 images, 25/s, 0:16 left",
        "Train: 900/1000 images, 25/s, 0:04 left",
    ]


def test_short_work_prints_nothing():
    stream = io.StringIO()
    with Progress(10, "Train", stream=stream) as lines:
        lines.advance(10)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (95.2, "1:35"), (4000, "1:06:40")])
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text
