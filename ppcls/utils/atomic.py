"""Files that are either there whole or not at all.

A file is written under a temporary name in its own folder, flushed to the disk and renamed: whoever
reads the final name sees the old content or the new one, also after `kill -9` or a full disk.
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Union

PathLike = Union[str, Path]


def write_with(path: PathLike, write: "Callable[[BinaryIO], object]") -> None:
    """Calls `write(file)` on a temporary file and renames it to `path` when that succeeded."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: PathLike, content: bytes) -> None:
    """Writes `content` to `path` atomically."""
    write_with(path, lambda file: file.write(content))


def write_text(path: PathLike, text: str) -> None:
    """Writes `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))
