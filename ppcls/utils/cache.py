"""The folder in which downloads and compiled operators are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$LOGOCLAS_HOME`, by default `~/.cache/logoclas`; not created here."""
    return Path(os.environ.get("LOGOCLAS_HOME") or Path.home() / ".cache" / "logoclas")
