"""Progress of long work: a bar with rate and time left, or plain lines where nobody watches."""

import sys
import time
from typing import Optional, TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts units of work on standard error.

    On a terminal it is a bar; elsewhere (a log file, CI) it is a line every ten seconds, so that
    short work prints nothing. Use as a context manager.

    Args:
        total: number of units.
        what: what is being done, e.g. "Train".
        unit: plural name of a unit.
        stream: where to write; standard error by default.
    """

    def __init__(
        self, total: int, what: str, unit: str = "images", stream: Optional[TextIO] = None
    ):
        self.total = total
        self.what = what
        self.unit = unit
        self.stream = stream or sys.stderr
        self.done = 0
        self._bar = None
        if self.stream.isatty():
            self._bar = tqdm(total=total, desc=what, unit=f" {unit}", file=self.stream, leave=False)
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """`count` more units are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._printed >= _SECONDS_BETWEEN_LINES and self.done < self.total:
            self._printed = now
            rate = self.done / (now - self._started)
            left = (self.total - self.done) / rate
            print(
                f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.0f}/s, "
                f"{format_seconds(left)} left",
                file=self.stream,
                flush=True,
            )


def format_seconds(seconds: float) -> str:
    """`95.2` as `1:35`, `4000` as `1:06:40`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
