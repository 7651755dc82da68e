"""Fetching published weights: resumable, checked, and in place whole or not at all.

Files are kept in `$LOGOCLAS_HOME/weights`, by default `~/.cache/logoclas/weights`.
"""

import contextlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ppcls.arch.pretrained import WeightRecord
from ppcls.errors import CheckpointError
from ppcls.utils.cache import cache_folder
from ppcls.utils.hashing import sha256_of
from ppcls.utils.logger import logger
from ppcls.utils.weight_file import read_any

_TIMEOUT_S = 30
_ATTEMPTS = 3
_CHUNK = 1 << 20


def weights_folder() -> Path:
    """Where downloaded weights are kept."""
    return cache_folder() / "weights"


def fetch(record: WeightRecord) -> Path:
    """The local file of a record, downloaded unless it is there already.

    An interrupted download goes on where it stopped. Processes that want the same file at once
    wait for the one that loads it.

    Raises:
        CheckpointError: no network, a damaged file, or one of another hash; says where to put the
            file by hand.
    """
    path = weights_folder() / record.file_name
    if path.is_file():
        return path
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(path.with_name(path.name + ".lock")):
            if not path.is_file():
                _download(record.url, partial)
                _check(partial, record)
                os.replace(partial, path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"cannot download the weights of {record.key}: {reason}. Get {record.url} on a "
            f"machine with a network and put it at {path}, or set Arch.pretrained to its path"
        ) from error
    return path


def _download(url: str, partial: Path) -> None:
    """Downloads `url` to `partial`, going on after the bytes that are there already."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _download_rest(url, partial)
            return
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS:
                raise
            logger.warning(f"download interrupted ({error}), trying again")


def _download_rest(url: str, partial: Path) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # What is there is not a beginning of the file: start over.
        partial.unlink()
        _download_rest(url, partial)
        return
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        done = start if resumed else 0
        total = done + int(length) if length else None
        bar = tqdm(desc=partial.stem, initial=done, total=total, unit="B", unit_scale=True)
        with open(partial, "ab" if resumed else "wb") as file, bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = partial.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended after {size} of {total} bytes")


def _check(partial: Path, record: WeightRecord) -> None:
    """Raises `CheckpointError` and removes the file when it is not what was published."""
    if record.sha256 is None:
        try:
            read_any(partial)
        except CheckpointError as error:
            partial.unlink()
            raise CheckpointError(f"{record.url} is no weight file: {error}") from error
        return
    found = sha256_of(partial)
    if found != record.sha256:
        partial.unlink()
        raise CheckpointError(
            f"{record.url} has SHA-256 {found}, expected {record.sha256}; it was not kept"
        )


@contextlib.contextmanager
def _exclusive(lock: Path) -> "Iterator[None]":
    """Lets one process at a time pass, where the system can lock files."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
