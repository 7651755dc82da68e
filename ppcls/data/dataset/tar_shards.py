"""Images in tar files ("shards"), written by WebDataset or by `tar` from folders of classes."""

import functools
import glob
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, Optional, Union

import numpy as np

from ppcls.config.types import Probability
from ppcls.data.dataset.base import BatchTransforms, ImageDataset, OnError, Transforms
from ppcls.data.dataset.names import PackedNames
from ppcls.data.dataset.problems import class_count_problems, labels_outside, list_first
from ppcls.data.dataset.tar_index import NO_CLASS, TarIndex, load_index, read_at
from ppcls.errors import DataError
from ppcls.registry import DATASETS
from ppcls.utils.logger import logger

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OPEN_FILES = 64
_SECONDS_BETWEEN_LINES = 5


@DATASETS.register()
class TarShardDataset(ImageDataset):
    """Images in plain tar files, read from their places: few large files instead of many small.

    An index says where each image is, so every order of samples is possible and a run resumes
    exactly. It is made once and kept beside each tar file, see `tar_index`. An image is called
    `<tar file>/<member>`.

    Args:
        shards: a tar file, a folder of them, a pattern (`train-*.tar`, `train-{000..146}.tar`), or
            a list of these. Samples are in the order of the sorted names.
        transform_ops: see `ImageDataset`, like those below.
        label: where labels are: "cls", a member `<key>.cls` with a number beside `<key>.jpg`; or
            "folder", the folder that holds the image.
        classes: with "folder", the names of the classes in the order of their numbers; the sorted
            names of the folders if not given.
        inside: use only what is in this folder of the tar files, e.g. `clothing10/train`.
    """

    def __init__(
        self,
        shards: Union[str, list[str]],
        transform_ops: Transforms = None,
        label: Literal["cls", "folder"] = "cls",
        classes: Optional[list[str]] = None,
        inside: Optional[str] = None,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        super().__init__(transform_ops, on_error, max_error_ratio, batch_transform_ops, seed)
        self.faults: list[str] = []
        self.shards = self._find(shards)
        #: When each tar file was changed last, in ns.
        self.changed: dict[Path, int] = {}
        indices = [_inside(index, inside) for index in self._load()]
        self.names = [index.names for index in indices]
        #: Number of the first sample of each shard, and the number of all samples.
        self.firsts = np.cumsum([0, *(len(index.names) for index in indices)], dtype=np.int64)
        self.offsets = _joined([index.offsets for index in indices])
        self.sizes = _joined([index.sizes for index in indices])
        self.labels = _joined([index.classes for index in indices])
        if label == "folder":
            self._label_by_folder(classes)
        else:
            self._check_classes()
        if not len(self) and not self.faults:
            where = f" in {inside}" if inside else ""
            self.faults.append(f"{', '.join(map(str, self.shards))}: no images{where}")

    def path(self, index: int) -> str:
        return f"{self._shard(index)}/{self._name(index)}"

    def read(self, index: int) -> bytes:
        shard, size = self._shard(index), int(self.sizes[index])
        data = read_at(_open(shard, self.changed[shard]), int(self.offsets[index]), size)
        if len(data) < size:
            raise DataError(f"{size - len(data)} of {size} bytes are missing in the tar file")
        return data

    def problems(self, class_num: int) -> "list[str]":
        if self.class_names is not None:
            what = ", ".join(map(str, self.shards[:3])) + (", ..." if len(self.shards) > 3 else "")
            return self.faults or class_count_problems(what, self.class_names, class_num)
        return self.faults or labels_outside(self.labels, class_num, self.path)

    def _find(self, shards: "Union[str, list[str]]") -> "list[Path]":
        found: list[Path] = []
        for text in [shards] if isinstance(shards, str) else shards:
            paths = []
            for pattern in _without_braces(text):
                matches = _expand(pattern)
                if not matches:
                    self.faults.append(f"{pattern}: no such tar file")
                paths += matches
            found += sorted(paths)
        return found

    def _load(self) -> "Iterator[TarIndex]":
        last_said = time.monotonic()
        for number, path in enumerate(self.shards, start=1):
            try:
                index = load_index(path)
                self.changed[path] = os.stat(path).st_mtime_ns
                yield index
            except DataError as error:
                self.faults.append(str(error))
                yield _EMPTY
            if time.monotonic() - last_said > _SECONDS_BETWEEN_LINES:
                last_said = time.monotonic()
                logger.info(f"indexed {number} of {len(self.shards)} tar files")

    def _shard(self, index: int) -> Path:
        return self.shards[self._shard_number(index)]

    def _shard_number(self, index: int) -> int:
        return int(np.searchsorted(self.firsts, index, side="right")) - 1

    def _name(self, index: int) -> str:
        number = self._shard_number(index)
        return self.names[number][index - self.firsts[number]]

    def _label_by_folder(self, classes: "Optional[list[str]]") -> None:
        found: dict[str, int] = {}
        numbers = np.empty(len(self), dtype=np.int64)
        for index in range(len(self)):
            folder = os.path.basename(os.path.dirname(self._name(index)))
            numbers[index] = found.setdefault(folder, len(found))
        self.class_names = list(classes or sorted(name for name in found if name))
        labels = {name: label for label, name in enumerate(self.class_names)}
        label_of_number = np.array([labels.get(name, -1) for name in found], dtype=np.int64)
        self.labels = label_of_number[numbers]
        strange = np.flatnonzero(self.labels < 0)
        self.faults += list_first(
            strange,
            lambda index: f"{self.path(index)}: not in the folder of a class",
            f"{len(strange)} of {len(self)} images",
        )

    def _check_classes(self) -> None:
        missing = np.flatnonzero(self.labels == NO_CLASS)
        self.faults += list_first(
            missing,
            lambda index: f"{self.path(index)}: no member with its class, `<key>.cls`",
            f"{len(missing)} of {len(self)} images",
        )


_NOTHING = np.zeros(0, dtype=np.int64)
_EMPTY = TarIndex(PackedNames.of([]), _NOTHING, _NOTHING, _NOTHING)


def _joined(parts: "Sequence[np.ndarray]") -> np.ndarray:
    return np.concatenate([_NOTHING, *parts])


def _inside(index: TarIndex, folder: Optional[str]) -> TarIndex:
    """What of an index is in a folder."""
    if folder is None:
        return index
    start = folder.strip("/") + "/"
    names = index.names
    kept = [i for i in range(len(names)) if names[i].removeprefix("./").startswith(start)]
    return TarIndex(
        PackedNames(names.text, names.starts[kept], names.ends[kept]),
        index.offsets[kept],
        index.sizes[kept],
        index.classes[kept],
    )


def _without_braces(text: str) -> "list[str]":
    """`a-{08..10}.tar` as `a-08.tar`, `a-09.tar`, `a-10.tar`."""
    braces = _BRACES.search(text)
    if braces is None:
        return [text]
    first, last = braces.groups()
    return [
        expanded
        for number in range(int(first), int(last) + 1)
        for expanded in _without_braces(
            f"{text[: braces.start()]}{number:0{len(first)}d}{text[braces.end() :]}"
        )
    ]


def _expand(pattern: str) -> "list[Path]":
    """The tar files that a path, a folder or a pattern stands for."""
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "*.tar")
    elif os.path.exists(pattern):
        return [Path(pattern)]
    return [Path(path) for path in glob.glob(pattern)]


@functools.lru_cache(maxsize=_OPEN_FILES)
def _open(path: Path, changed: int) -> BinaryIO:
    # `changed` keeps a file apart from another that took its place.
    return open(path, "rb", buffering=0)
