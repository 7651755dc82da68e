"""MNIST, Fashion-MNIST and their like: images and labels in IDX files."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from ppcls.data.dataset.idx import IdxDataset
from ppcls.data.inspection.labels import class_counts
from ppcls.data.prepare.lists import (
    Images,
    ListOptions,
    Prepared,
    free_parts,
    refuse_existing,
    write_lists,
)
from ppcls.data.prepare.splitting import TEST, TRAIN, VAL
from ppcls.errors import DataError
from ppcls.utils.progress import Progress


class _Pair(NamedTuple):
    """The files of one part, and what they hold."""

    images: Path
    labels: Path
    data: IdxDataset


def prepare_idx(
    folder: Path,
    options: ListOptions,
    prefix: str = "",
    label_map: Optional[Path] = None,
    label_names: Optional[Mapping[int, str]] = None,
) -> Prepared:
    """Finds the training and test files in a folder, and checks them.

    `IdxDataset` reads them as they are, with the test files for validation. With
    `options.output`, the images become PNG files with lists instead; then `val_fraction` may take
    the validation images from the training ones and leave the test files for the test.

    Args:
        folder: holds `...train-images-idx3-ubyte`, `...train-labels-idx1-ubyte` and the same of
            `t10k` or `test`, plain or with gzip.
        prefix: how their names begin, if there are several sets.
        label_map: file that names the classes, if there is one.
        label_names: what it says; the others are called by their numbers.

    Raises:
        DataError: a file is missing, ambiguous or broken, or lists exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    pairs = {
        TRAIN: _find(folder, prefix, ("train",)),
        VAL: _find(folder, prefix, ("t10k", "test")),
    }
    names = label_names or {}
    highest = max([*names, *(int(pair.data.labels.max()) for pair in pairs.values())])
    classes = [names.get(class_id, str(class_id)) for class_id in range(highest + 1)]
    if options.output is not None:
        return _write_images(pairs, classes, options.output, options)
    datasets = {
        part: {
            "name": "IdxDataset",
            "images": pair.images.as_posix(),
            "labels": pair.labels.as_posix(),
        }
        for part, pair in pairs.items()
    }
    return Prepared(
        folder=folder,
        files=[],
        classes=classes,
        totals={part: len(pair.data) for part, pair in pairs.items()},
        counts={part: class_counts(pair.data.labels, len(classes)) for part, pair in pairs.items()},
        datasets=datasets,
        label_map=label_map,
    )


def _find(folder: Path, prefix: str, parts: "tuple[str, ...]") -> _Pair:
    found = sorted(
        path
        for path in folder.glob(f"{prefix}*images*idx3*ubyte*")
        if any(part in path.name for part in parts)
    )
    if len(found) != 1:
        expected = " or ".join(f"{prefix}...{part}-images-idx3-ubyte" for part in parts)
        names = ", ".join(path.name for path in found) or "none"
        hint = "; say with --prefix how the names of the set begin" if found else ""
        raise DataError(f"{folder}: expected one file {expected}, found {names}{hint}")
    images = found[0]
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    labels = next(
        (
            path
            for path in (folder / name, folder / name.removesuffix(".gz"), folder / f"{name}.gz")
            if path.is_file()
        ),
        folder / name,
    )
    data = IdxDataset(str(images), str(labels))
    if data.faults:
        raise DataError("\n".join(data.faults))
    return _Pair(images, labels, data)


def _write_images(
    pairs: "dict[str, _Pair]", classes: "list[str]", output: Path, options: ListOptions
) -> Prepared:
    from PIL import Image

    refuse_existing(output, options.overwrite)
    names, labels = [], []
    with Progress(sum(len(pair.data) for pair in pairs.values()), "Writing") as progress:
        for pair in pairs.values():
            stem = pair.images.name.split("-images")[0]
            for index, label in enumerate(pair.data.labels):
                name = f"images/{label}/{stem}_{index:05d}.png"
                path = output / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pair.data.images[index]).save(path)
                names.append(name)
                labels.append(int(label))
                progress.advance(1)
    parts = free_parts(len(names))
    train_count = len(pairs[TRAIN].data)
    if options.val_fraction:
        parts[train_count:] = TEST
    else:
        parts[:train_count], parts[train_count:] = TRAIN, VAL
    images = Images(output, names, np.array(labels, np.int64), classes, parts)
    return write_lists(images, options)
