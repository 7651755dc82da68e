"""Reads and decodes every image of a dataset in worker processes, and keeps a few bytes of each."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple, Optional, Union

import numpy as np

from ppcls.data.inspection.image_facts import (
    DIGEST_SIZE,
    SIGNATURE_SIZE,
    content_digest,
    examine,
    signature,
)
from ppcls.data.transform.decode import decode_image
from ppcls.data.workers import WorkerPool
from ppcls.errors import DataError, UserError
from ppcls.utils.progress import Progress

#: Faults of one kind whose texts are kept; beyond them only the number grows.
KEPT_FAULTS = 1000
_CHUNK = 16


class Fault(NamedTuple):
    """An image that cannot be used, and why."""

    index: int
    reason: str


@dataclass
class Survey:
    """What is known of each of N images, in about 60 bytes.

    digests: (N, 16) uint8, of the contents; valid where `was_read`.
    sizes: (N, 2) int32, width and height; 0 where the image cannot be decoded.
    signatures: (N, 16) uint8 if asked for; valid where `has_signature`.
    """

    digests: np.ndarray
    was_read: np.ndarray
    sizes: np.ndarray
    signatures: Optional[np.ndarray] = None
    has_signature: Optional[np.ndarray] = None
    formats: "Counter[str]" = field(default_factory=Counter)
    modes: "Counter[str]" = field(default_factory=Counter)
    rotated: int = 0
    unreadable: int = 0
    #: The first of them.
    faults: "list[Fault]" = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_readable(self) -> np.ndarray:
        """(N,) bool."""
        return self.sizes[:, 0] > 0


class _Rest(NamedTuple):
    """What of a chunk's examination is not an array."""

    indices: range
    formats: "Counter[str]"
    modes: "Counter[str]"
    rotated: int
    faults: "list[Fault]"


_Answer = tuple["list[np.ndarray]", _Rest]


def survey(
    dataset: Any,
    what: str,
    jobs: int = 1,
    decode: Callable[[bytes], np.ndarray] = decode_image,
    with_signatures: bool = False,
    keep_all_faults: bool = False,
) -> Survey:
    """Examines every image of a dataset.

    Args:
        dataset: has a length, `read(index)` and `path(index)`; see `ppcls.data.dataset`.
        what: what the progress is called.
        jobs: worker processes; 0 works in this process.
        decode: gives RGB (H, W, 3) uint8 of a file's bytes.
        with_signatures: also compute perceptual hashes.
        keep_all_faults: keep more than the first `KEPT_FAULTS`.
    """
    started = time.monotonic()
    count = len(dataset)
    digests, was_read, sizes, signatures, has_signature = _no_arrays(count)
    result = Survey(digests, was_read, sizes)
    if with_signatures:
        result.signatures, result.has_signature = signatures, has_signature
    examiner = _Examiner(dataset, decode, with_signatures)
    kept_faults = count if keep_all_faults else KEPT_FAULTS
    with Progress(count, what) as progress:
        for arrays, rest in _examine_all(examiner, count, jobs):
            _add(result, arrays, rest, kept_faults)
            progress.advance(len(rest.indices))
    result.seconds = time.monotonic() - started
    return result


def _examine_all(examiner: "_Examiner", count: int, jobs: int) -> Iterator[_Answer]:
    """The answers for all chunks, in order, also if an image kills the process that decodes it."""
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if not jobs:
        yield from (examiner(chunk, np.empty) for chunk in chunks)
        return
    done = 0
    while done < len(chunks):
        with contextlib.closing(WorkerPool(examiner, jobs)) as pool:
            try:
                for answer in pool.map(chunks[done:]):
                    done += 1
                    yield answer
                return
            except DataError:
                # A worker died, at this chunk or soon after; find out with one image at a time.
                pass
        for index in chunks[done]:
            yield _examine_one(examiner, index)
        done += 1


def _examine_one(examiner: "_Examiner", index: int) -> _Answer:
    indices = range(index, index + 1)
    with contextlib.closing(WorkerPool(examiner, 1, use_shared_memory=False)) as pool:
        try:
            return next(iter(pool.map([indices])))
        except DataError as error:
            fault = Fault(index, f"examining it failed: {error}")
            return _no_arrays(1), _Rest(indices, Counter(), Counter(), 0, [fault])


class _Examiner:
    """Examines the images of a chunk, in whichever process."""

    def __init__(self, dataset: Any, decode: Callable[[bytes], np.ndarray], with_signatures: bool):
        self.dataset = dataset
        self.decode = decode
        self.with_signatures = with_signatures

    def __call__(self, indices: range, allocate: Callable) -> "tuple[list[np.ndarray], _Rest]":
        count = len(indices)
        arrays = _no_arrays(count)
        digests, was_read, sizes, signatures, has_signature = arrays
        formats, modes, rotated, faults = Counter(), Counter(), 0, []
        for row, index in enumerate(indices):
            content = self._read(index, faults)
            if content is None:
                continue
            digests[row] = np.frombuffer(content_digest(content), np.uint8)
            was_read[row] = True
            try:
                facts, pixels = examine(content, self.decode)
            except UserError as error:
                faults.append(Fault(index, str(error)))
                continue
            sizes[row] = facts.width, facts.height
            formats[facts.format] += 1
            modes[facts.mode] += 1
            rotated += facts.is_rotated
            if self.with_signatures:
                bits = signature(pixels)
                if bits is not None:
                    signatures[row], has_signature[row] = bits, True
        return arrays, _Rest(indices, formats, modes, rotated, faults)

    def _read(self, index: int, faults: "list[Fault]") -> "Optional[Union[bytes, np.ndarray]]":
        try:
            return self.dataset.read(index)
        except OSError as error:
            faults.append(Fault(index, f"cannot be read: {error.strerror or error}"))
        except DataError as error:
            faults.append(Fault(index, str(error)))
        return None


def _no_arrays(count: int) -> "list[np.ndarray]":
    """digests, was_read, sizes, signatures, has_signature of images of which nothing is known."""
    return [
        np.zeros((count, DIGEST_SIZE), np.uint8),
        np.zeros(count, bool),
        np.zeros((count, 2), np.int32),
        np.zeros((count, SIGNATURE_SIZE), np.uint8),
        np.zeros(count, bool),
    ]


def _add(result: Survey, arrays: "list[np.ndarray]", rest: _Rest, kept_faults: int) -> None:
    rows = slice(rest.indices.start, rest.indices.stop)
    digests, was_read, sizes, signatures, has_signature = arrays
    result.digests[rows], result.was_read[rows], result.sizes[rows] = digests, was_read, sizes
    if result.signatures is not None:
        result.signatures[rows], result.has_signature[rows] = signatures, has_signature
    result.formats += rest.formats
    result.modes += rest.modes
    result.rotated += rest.rotated
    result.unreadable += len(rest.faults)
    result.faults += rest.faults[: max(0, kept_faults - len(result.faults))]
