"""Where the images of a tar file are: read once, kept beside it.

The index of `shard.tar` is `shard.tar.index`, a NumPy `.npz`. It names the size and the time of
change of the tar file it was made from; an index that does not fit, or is broken, is made anew.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Optional

import numpy as np

from ppcls.data.dataset.names import PackedNames
from ppcls.data.image_files import is_image_name
from ppcls.errors import DataError
from ppcls.utils.atomic import write_with
from ppcls.utils.logger import logger

#: What `TarIndex.classes` holds for an image without a `.cls` member.
NO_CLASS = -(2**63)

_VERSION = 1
_BLOCK = 512
_MAX_DIGITS = 18
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class TarIndex(NamedTuple):
    """The N images of a tar file, in their order in it."""

    names: PackedNames
    #: (N,) int64: place of the first byte.
    offsets: np.ndarray
    #: (N,) int64: number of bytes.
    sizes: np.ndarray
    #: (N,) int64: what the `.cls` member of the image says, or `NO_CLASS`.
    classes: np.ndarray


def load_index(path: Path) -> TarIndex:
    """The index of a tar file: the one beside it if it fits, else a new one, which is kept.

    Raises:
        DataError: the tar file cannot be read, is no plain tar file, is truncated, or a `.cls`
            member is not a number; names the file and the member.
    """
    try:
        stamp = _stamp(path)
        index = _read(_beside(path), stamp)
        if index is None:
            index = build_index(path)
            _keep(index, _beside(path), stamp)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return index


def build_index(path: Path) -> TarIndex:
    """Reads the headers of a tar file; raises like `load_index`."""
    names, offsets, sizes = [], [], []
    classes: dict[bytes, int] = {}
    with open(path, "rb", buffering=0) as file:
        for member in _members(path, file):
            if os.path.basename(member.name).startswith("."):
                continue  # What macOS packs beside every file, for one.
            if is_image_name(member.name):
                names.append(os.fsencode(member.name))
                offsets.append(member.offset_data)
                sizes.append(member.size)
            elif member.name.endswith(".cls"):
                content = read_at(file, member.offset_data, min(member.size, 64))
                classes[os.fsencode(_key(member.name))] = _class_of(content, path, member.name)
    keys = (os.fsencode(_key(os.fsdecode(name))) for name in names)
    return TarIndex(
        PackedNames.of(names),
        np.array(offsets, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        np.array([classes.get(key, NO_CLASS) for key in keys], dtype=np.int64),
    )


def read_at(file: BinaryIO, place: int, size: int) -> bytes:
    """`size` bytes of an unbuffered file from `place` on; fewer at its end.

    Processes that have inherited the file share its position, so that is not used if possible.
    """
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, place)
    file.seek(place)
    return file.read(size)


def _members(path: Path, file: BinaryIO) -> "Iterator[tarfile.TarInfo]":
    """The files in a tar file, the content of each complete."""
    start = read_at(file, 0, _BLOCK)
    for signature, name in _COMPRESSED.items():
        if start.startswith(signature) and start[257:262] != b"ustar":
            raise DataError(
                f"{path}: compressed with {name}; images are read from their places, which needs "
                "a plain tar file: decompress it"
            )
    size = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while True:
                member = archive.next()
                if member is None:
                    break
                archive.members.clear()  # It keeps all of them otherwise.
                if member.isfile():
                    if member.offset_data + member.size > size:
                        raise DataError(f"{path}: truncated within {member.name}; copy it again")
                    yield member
            end = archive.offset
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path}: not a whole tar file: {error}; copy it again") from error
    # `tarfile` takes a broken header for the end.
    if read_at(file, end, _BLOCK) != bytes(_BLOCK):
        raise DataError(
            f"{path}: no end-of-archive mark at byte {end}: the file is truncated, damaged or "
            "still being written"
        )


def _key(name: str) -> str:
    """The part of a member's name that the members of one sample share: up to the first dot."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _class_of(content: bytes, path: Path, name: str) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        shown = os.fsdecode(text[:_MAX_DIGITS])
        raise DataError(f"{path}: {name}: expected a whole number, found '{shown}'")
    return int(text)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.index")


def _stamp(path: Path) -> np.ndarray:
    status = os.stat(path)
    return np.array([_VERSION, status.st_size, status.st_mtime_ns], dtype=np.int64)


def _read(path: Path, stamp: np.ndarray) -> Optional[TarIndex]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not np.array_equal(arrays["stamp"], stamp):
                return None
            names = PackedNames(arrays["text"].tobytes(), arrays["starts"], arrays["ends"])
            return TarIndex(names, arrays["offsets"], arrays["sizes"], arrays["classes"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning(f"{path}: not a readable index ({error}); it is made anew")
        return None


def _keep(index: TarIndex, path: Path, stamp: np.ndarray) -> None:
    arrays = {
        "stamp": stamp,
        "text": np.frombuffer(index.names.text, dtype=np.uint8),
        "starts": index.names.starts,
        "ends": index.names.ends,
        "offsets": index.offsets,
        "sizes": index.sizes,
        "classes": index.classes,
    }
    try:
        write_with(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        logger.warning(
            f"{path} cannot be written ({error.strerror}): the index of the tar file will be made "
            "anew in every run"
        )
