"""A folder that holds a folder of images per class."""

import os
from collections import Counter
from pathlib import Path
from typing import Optional

import numpy as np

from ppcls.data.image_files import class_folders, images_under, is_image_name
from ppcls.data.prepare.lists import (
    Images,
    ListOptions,
    Prepared,
    refuse_existing,
    write_lists,
)
from ppcls.data.prepare.splitting import FREE, TEST, TRAIN, VAL
from ppcls.errors import DataError

#: What people call the folders of a dataset that is split already.
_PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}


def prepare_folder(root: Path, options: Optional[ListOptions] = None) -> Prepared:
    """Writes the lists of a folder that holds a folder of images per class.

    The sorted names of the class folders are the classes; images lie at any depth below them. If
    the folder holds `train` and `val` (or `validation`) or `test`, which hold the class folders,
    those parts stay as they are; without `val`, validation images are taken from `train`.

    Raises:
        DataError: the output lies in the folder, there are fewer than two classes, a class has no
            image, a part has a class that `train` has not, or lists exist.
    """
    options = options or ListOptions()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    if options.output is not None and root.resolve() in options.output.resolve().parents:
        raise DataError(f"--output {options.output} lies in {root}, where folders are classes")
    refuse_existing(options.output or root, options.overwrite)
    ignored: Counter[str] = Counter()
    folders = class_folders(root)
    parts = {_PART_NAMES[name.lower()]: name for name in folders if name.lower() in _PART_NAMES}
    if TRAIN in parts and len(parts) > 1:
        _refuse_strangers(root, folders, parts)
        classes = _named_classes(root / parts[TRAIN])
        where = {
            FREE if part == TRAIN and VAL not in parts else part: parts[part] for part in parts
        }
    else:
        classes = _named_classes(root)
        where = {FREE: ""}
    names, labels, of_part = [], [], []
    for part, folder in where.items():
        if part not in (TRAIN, FREE):
            _refuse_new_classes(root / folder, classes)
        _count_loose_images(root / folder, ignored)
        for label, class_name in enumerate(classes):
            found = _images_of_class(root, os.path.join(folder, class_name))
            _count_other_files(root / folder / class_name, ignored)
            names += found
            labels += [label] * len(found)
            of_part += [part] * len(found)
    images = Images(
        root, names, np.array(labels, np.int64), classes, np.array(of_part, "<U5"), ignored
    )
    return write_lists(images, options)


def _named_classes(root: Path) -> "list[str]":
    classes = class_folders(root)
    if len(classes) < 2:
        hint = ""
        if len(classes) == 1 and len(class_folders(root / classes[0])) > 1:
            hint = f"; did you mean {root / classes[0]}?"
        raise DataError(
            f"{root} must hold a folder of images per class; it has {len(classes)}{hint}"
        )
    return classes


def _refuse_strangers(root: Path, folders: "list[str]", parts: "dict[str, str]") -> None:
    """Folders beside the parts would be lost without a word; two names of one part, too."""
    strangers = [name for name in folders if name not in parts.values()]
    if strangers:
        raise DataError(
            f"{root} holds {', '.join(parts.values())} and also {', '.join(strangers)}: if the "
            "former are parts of a split, move the others away; if they are classes, rename them"
        )


def _refuse_new_classes(part: Path, classes: "list[str]") -> None:
    new = [name for name in class_folders(part) if name not in classes]
    if new:
        raise DataError(f"{part} has classes that the training folder has not: {', '.join(new)}")


def _images_of_class(root: Path, folder: str) -> "list[str]":
    """Names relative to `root`; none if the folder does not exist (a part need not have all)."""
    if not (root / folder).is_dir():
        return []
    try:
        return [os.fsdecode(name).replace(os.sep, "/") for name in images_under(root, folder)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


def _count_other_files(folder: Path, ignored: "Counter[str]") -> None:
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and not is_image_name(name):
                ignored[os.path.splitext(name)[1].lower() or "no suffix"] += 1


def _count_loose_images(folder: Path, ignored: "Counter[str]") -> None:
    """Counts images that lie in no class folder."""
    for entry in os.scandir(folder):
        if entry.is_file() and is_image_name(entry.name) and not entry.name.startswith("."):
            ignored[f"{os.path.splitext(entry.name)[1].lower()} in no class folder"] += 1
