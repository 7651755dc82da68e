"""A timeline and a table of operators of some training iterations."""

import contextlib
import io
from pathlib import Path

from paddle import profiler

from ppcls.utils.logger import logger

TIMELINE, TABLE = "timeline.json", "operators.txt"
#: Iterations before the profiled ones: the first are slower than the rest.
_WARM_UP = 2
#: Lines of the table that go to the log: its head and the slowest operators.
_LOGGED = 16


class StepProfiler:
    """Profiles iterations of a running training, which goes on afterwards.

    Args:
        folder: receives `timeline.json` (for chrome://tracing or https://ui.perfetto.dev) and
            `operators.txt`.
        steps: number of iterations.
        device: "cpu", "gpu", ... as in `Global.device`.
    """

    def __init__(self, folder: Path, steps: int, device: str):
        self.folder = folder
        self.steps = steps
        self._done = 0
        targets = [profiler.ProfilerTarget.CPU]
        if device == "gpu":
            targets.append(profiler.ProfilerTarget.GPU)
        # Without a handler of its own it also writes into the working directory.
        self._profiler = profiler.Profiler(targets=targets, on_trace_ready=lambda profile: None)

    def step(self) -> None:
        """To be called after each iteration."""
        self._done += 1
        if self._done == _WARM_UP:
            self._profiler.start()
        elif _WARM_UP < self._done < _WARM_UP + self.steps:
            self._profiler.step()
        elif self._done == _WARM_UP + self.steps:
            self._profiler.stop()
            self._write()

    def close(self) -> None:
        """At the end of the training: writes what there is of a profile that is still running."""
        if _WARM_UP < self._done < _WARM_UP + self.steps:
            self._profiler.stop()
            self._write()
        elif self._done <= _WARM_UP:
            logger.warning(
                f"no profile: the run had only {self._done} iterations, and the first {_WARM_UP} "
                "do not count"
            )

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._profiler.export(str(self.folder / TIMELINE), format="json")
        table = io.StringIO()
        with contextlib.redirect_stdout(table):  # Paddle only prints it
            self._profiler.summary(
                sorted_by=profiler.SortedKeys.CPUTotal,
                op_detail=False,
                thread_sep=False,
                time_unit="ms",
            )
        text = table.getvalue()
        (self.folder / TABLE).write_text(text, encoding="utf-8")
        operators = text[text.find("Operator Summary") :].splitlines()[1:_LOGGED]
        logger.info("slowest operators\n" + "\n".join(line[:104] for line in operators))
        logger.info(f"profile of {self.steps} iterations written to {self.folder}")
