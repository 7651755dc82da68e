"""The results of a run, epoch by epoch: CSV, JSON, and JSON lines."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ppcls.utils import atomic

CSV_FILE, JSON_FILE, LINES_FILE = "history.csv", "train_results.json", "history.jsonl"


def write_history(folder: Path, summary: "dict[str, Any]", rows: "list[dict[str, Any]]") -> None:
    """Writes `history.csv`, `history.jsonl` (an epoch a line) and `train_results.json` whole;
    `summary` heads the latter.

    Args:
        rows: one mapping per epoch; later epochs may have other keys.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(folder / CSV_FILE, text.getvalue())
    atomic.write_text(folder / LINES_FILE, "".join(f"{json.dumps(row)}\n" for row in rows))
    atomic.write_text(folder / JSON_FILE, json.dumps({**summary, "history": rows}, indent=1))
