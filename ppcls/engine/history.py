"""The results of a run, epoch by epoch: CSV, JSON, and VisualDL scalars."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ppcls.errors import ConfigError
from ppcls.utils import atomic

CSV_FILE, JSON_FILE = "history.csv", "train_results.json"


def write_history(folder: Path, summary: "dict[str, Any]", rows: "list[dict[str, Any]]") -> None:
    """Writes `history.csv` and `train_results.json` whole; `summary` heads the JSON.

    Args:
        rows: one mapping per epoch; later epochs may have other keys.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(folder / CSV_FILE, text.getvalue())
    atomic.write_text(folder / JSON_FILE, json.dumps({**summary, "history": rows}, indent=1))


class ScalarWriter:
    """VisualDL scalars under `<folder>/vdl`; does nothing when not enabled.

    Raises:
        ConfigError: VisualDL is asked for and not installed.
    """

    def __init__(self, folder: Path, enabled: bool):
        self._writer = None
        if not enabled:
            return
        try:
            from visualdl import LogWriter
        except ImportError as error:
            raise ConfigError(
                "Global.use_visualdl is true but VisualDL is not installed: "
                'pip install "logoclas[visualdl]"'
            ) from error
        self._writer = LogWriter(logdir=str(folder / "vdl"))

    def add(self, phase: str, values: "dict[str, float]", step: int) -> None:
        """Writes each value as the scalar `phase/name` at `step`."""
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(tag=f"{phase}/{name}", value=value, step=step)

    def close(self) -> None:
        """Flushes what is buffered."""
        if self._writer is not None:
            self._writer.close()
