"""Leaves out images that cannot be used, splits the rest and writes the lists."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import yaml

from ppcls.data.inspection.labels import class_counts
from ppcls.data.prepare.splitting import FREE, PARTS, TEST, TRAIN, VAL, split_free
from ppcls.errors import DataError
from ppcls.utils.atomic import write_bytes

LABEL_LIST, LEFT_OUT = "label_list.txt", "left_out.txt"

_SHOWN = 5
_MAX_CLASSES_SHOWN = 50


@dataclass(frozen=True)
class ListOptions:
    """What is done with the images found.

    Args:
        output: folder of the lists; None is the folder that holds the images.
        val_fraction, test_fraction, seed: see `split_free`.
        overwrite: replace lists that exist.
        check: decode every image and leave out those that cannot be read and those that are
            identical to another.
        keep_duplicates: list identical images too.
        jobs: worker processes that decode; 0 decodes in this one.
    """

    output: Optional[Path] = None
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    seed: int = 0
    overwrite: bool = False
    check: bool = True
    keep_duplicates: bool = False
    jobs: int = 0


@dataclass
class Images:
    """Images found in a source.

    root: what the names are relative to.
    names: N paths with forward slashes.
    labels: (N,) int64, or (N, len(classes)) int8 of 0, 1 and -1 (unknown).
    parts: (N,) texts: the part a sample belongs to, or `FREE`.
    ignored: number of files that are no images by name, by suffix.
    left_out: name -> why, of images that the source itself had to refuse.
    """

    root: Path
    names: "list[str]"
    labels: np.ndarray
    classes: "list[str]"
    parts: np.ndarray
    ignored: "Counter[str]" = field(default_factory=Counter)
    left_out: "dict[str, str]" = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """The file of an image."""
        return os.path.join(self.root, self.names[index])

    def read(self, index: int) -> bytes:
        """The bytes of an image's file; raises OSError."""
        with open(self.path(index), "rb") as file:
            return file.read()

    def take(self, keep: np.ndarray) -> "Images":
        """The images where `keep` (N,) is true."""
        names = [name for name, is_kept in zip(self.names, keep) if is_kept]
        return Images(
            self.root,
            names,
            self.labels[keep],
            self.classes,
            self.parts[keep],
            self.ignored,
            self.left_out,
        )


@dataclass(frozen=True)
class Prepared:
    """What was written.

    files: the lists and the map of labels.
    counts: part -> (len(classes),) number of images of each class.
    totals: part -> number of images.
    datasets: part -> its `dataset` section, without transforms.
    label_map: file of the classes' names, if there is one.
    """

    folder: Path
    files: "list[str]"
    classes: "list[str]"
    totals: "dict[str, int]"
    counts: "dict[str, np.ndarray]"
    datasets: "dict[str, dict[str, Any]]"
    label_map: Optional[Path]
    ignored: "Counter[str]" = field(default_factory=Counter)
    left_out: "dict[str, str]" = field(default_factory=dict)
    was_checked: bool = False

    @property
    def train(self) -> int:
        return self.totals[TRAIN]

    @property
    def val(self) -> int:
        return self.totals.get(VAL, 0)

    def __str__(self) -> str:
        """How many images of how many classes, and the files if any were written."""
        test = f", {self.totals[TEST]} test" if TEST in self.totals else ""
        files = f": {', '.join(self.files)} in {self.folder}" if self.files else ""
        return (
            f"{self.train} training and {self.val} validation{test} images of "
            f"{len(self.classes)} classes{files}"
        )

    def describe_losses(self) -> str:
        """What is not in the lists, and why."""
        lines = []
        if self.left_out:
            lines.append(f"Images left out: {len(self.left_out)}")
            first = list(self.left_out.items())[:_SHOWN]
            lines += [f"  {name}: {reason}" for name, reason in first]
            if len(self.left_out) > _SHOWN:
                lines.append(f"  ... all of them are in {self.folder / LEFT_OUT}")
        elif self.was_checked:
            lines.append("Every image can be read; none is left out.")
        if self.ignored:
            by_suffix = ", ".join(
                f"{suffix} ({count})" for suffix, count in self.ignored.most_common()
            )
            lines.append(f"Files that are no images by their names: {by_suffix}")
        return "\n".join(lines)

    def describe_classes(self) -> str:
        """A table: images of each class in each part."""
        shown = range(min(len(self.classes), _MAX_CLASSES_SHOWN))
        width = max([len("class"), *(len(self.classes[i]) for i in shown)])
        lines = [f"{'id':>5}  {'class':<{width}}" + "".join(f"{p:>9}" for p in self.totals)]
        for i in shown:
            numbers = "".join(f"{self.counts[part][i]:>9}" for part in self.totals)
            lines.append(f"{i:>5}  {self.classes[i]:<{width}}{numbers}")
        if len(self.classes) > len(shown):
            lines.append(f"  ... and {len(self.classes) - len(shown)} more classes")
        return "\n".join(lines)

    def yaml_lines(self) -> str:
        """The YAML that uses the lists, to paste into a configuration."""
        names = {TRAIN: "Train", VAL: "Eval"}
        loader = {
            names[part]: {"dataset": section}
            for part, section in self.datasets.items()
            if part in names
        }
        sections = {
            "Arch": {"class_num": len(self.classes)},
            "DataLoader": loader,
        }
        if self.label_map is not None:
            label_map = self.label_map.as_posix()
            sections["Infer"] = {"PostProcess": {"class_id_map_file": label_map}}
        return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raises `DataError` if the folder has lists that nobody asked to replace."""
    names = (*(f"{part}_list.txt" for part in PARTS), LABEL_LIST)
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise DataError(
            f"{folder} has {', '.join(existing)} already; pass --force to replace them, or "
            "--output with another folder"
        )


def write_lists(images: Images, options: ListOptions) -> Prepared:
    """Checks, splits and writes `{train,val,test}_list.txt`, `label_list.txt`, `left_out.txt`.

    Raises:
        DataError: lists exist, or a class has no training image left.
    """
    folder = options.output or images.root
    refuse_existing(folder, options.overwrite)
    images = _without_unusual_names(images)
    if options.check:
        from ppcls.data.prepare.screening import without_unusable

        images = without_unusable(images, options.jobs, options.keep_duplicates)
    _refuse_empty_classes(images)
    parts = split_free(
        images.parts, images.labels, options.val_fraction, options.test_fraction, options.seed
    )
    form = _list_form(images)
    totals, counts, datasets = {}, {}, {}
    for part in PARTS:
        members = np.flatnonzero(parts == part)
        path = folder / f"{part}_list.txt"
        lines = [
            f"{images.names[i]}{form.delimiter}{_label_text(images.labels[i])}" for i in members
        ]
        _write_lines(path, lines)
        if len(members):
            totals[part] = len(members)
            counts[part] = class_counts(images.labels[members], len(images.classes))
            datasets[part] = {
                "name": form.dataset,
                "image_root": images.root.as_posix(),
                "cls_label_path": path.as_posix(),
                **form.options,
            }
    _write_lines(folder / LABEL_LIST, [f"{i} {name}" for i, name in enumerate(images.classes)])
    _write_lines(folder / LEFT_OUT, [f"{name}\t{why}" for name, why in images.left_out.items()])
    return Prepared(
        folder=folder,
        files=[*(f"{part}_list.txt" for part in totals), LABEL_LIST],
        classes=images.classes,
        totals=totals,
        counts=counts,
        datasets=datasets,
        label_map=folder / LABEL_LIST,
        ignored=images.ignored,
        left_out=images.left_out,
        was_checked=options.check,
    )


class _ListForm(NamedTuple):
    """How a list is written, the dataset that reads it, and the options it then needs."""

    delimiter: str
    dataset: str
    options: "dict[str, str]"


def _list_form(images: Images) -> _ListForm:
    if images.labels.ndim == 2:
        return _ListForm("\t", "MultiLabelDataset", {})
    # Our own lists would do with a space, but not those of PaddleClas.
    if any(" " in name for name in images.names):
        return _ListForm("\t", "ImageNetDataset", {"delimiter": "\t"})
    return _ListForm(" ", "ImageNetDataset", {})


def free_parts(count: int) -> np.ndarray:
    """`Images.parts` of samples that have no part yet."""
    return np.full(count, FREE, dtype="<U5")


def _without_unusual_names(images: Images) -> Images:
    """Without the names that a list, which has one a line, cannot hold."""
    keep = np.ones(len(images), bool)
    for index, name in enumerate(images.names):
        if name != name.strip() or "\n" in name or "\r" in name:
            keep[index] = False
            reason = "a list cannot hold a name with line breaks, or with white space at its ends"
            images.left_out[repr(name)] = reason
    return images if keep.all() else images.take(keep)


def _refuse_empty_classes(images: Images) -> None:
    is_training = (images.parts == TRAIN) | (images.parts == FREE)
    counts = class_counts(images.labels[is_training], len(images.classes))
    empty = [images.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty:
        message = f"{images.root}: no images to train on of the classes {', '.join(empty)}"
        if images.left_out:
            reasons = [f"  {name}: {why}" for name, why in list(images.left_out.items())[:_SHOWN]]
            message += f"; {len(images.left_out)} images were left out, such as\n"
            message += "\n".join(reasons)
        raise DataError(message)


def _label_text(label: np.ndarray) -> str:
    return ",".join(map(str, label)) if label.ndim else str(label)


def _write_lines(path: Path, lines: "list[str]") -> None:
    if lines:
        write_bytes(path, os.fsencode("".join(f"{line}\n" for line in lines)))
    else:
        path.unlink(missing_ok=True)
