"""Datasets for the loader: image files, `train_list.txt`, `val_list.txt` and `label_list.txt`.

Behind `tools/prepare_dataset.py`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppcls.errors import DataError
from ppcls.utils.atomic import write_bytes

#: Names of the lists, in the folder that their paths are relative to.
TRAIN_LIST, VAL_LIST, LABEL_LIST = "train_list.txt", "val_list.txt", "label_list.txt"

_IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2")
)
_DIGIT_SCALE = 4


class Lists(NamedTuple):
    """What was written."""

    folder: Path
    train: int
    val: int
    classes: int

    def __str__(self) -> str:
        return (
            f"{self.train} training and {self.val} validation images of {self.classes} classes: "
            f"{TRAIN_LIST}, {VAL_LIST} and {LABEL_LIST} in {self.folder}"
        )


def prepare_digits(output: Path) -> Lists:
    """Writes the handwritten digits that come with scikit-learn as PNG files, with lists.

    1797 images of 8x8 pixels of 17 greys (UCI "Optical Recognition of Handwritten Digits"),
    each pixel enlarged to 4x4; a fixed split into 1437 and 360, the same every time.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "the digits come with scikit-learn, which is not installed: "
            "install the extra [quickstart] of this package, or `pip install scikit-learn`"
        ) from None
    from PIL import Image

    digits = load_digits()
    names = []
    for index, (image, label) in enumerate(zip(digits.images, digits.target)):
        name = f"images/{label}/{index:04d}.png"
        pixels = np.round(image * (255 / 16)).astype(np.uint8)
        pixels = pixels.repeat(_DIGIT_SCALE, axis=0).repeat(_DIGIT_SCALE, axis=1)
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(output / name)
        names.append(name)
    labels = np.asarray(digits.target)
    classes = [str(name) for name in digits.target_names]
    return _write_lists(output, names, labels, stratified_split(labels, val_ratio=0.2), classes)


def prepare_folder(
    root: Path, val_ratio: float = 0.2, seed: int = 0, overwrite: bool = False
) -> Lists:
    """Writes the lists of a folder that holds a folder of images per class.

    The sorted names of the folders are the classes. A folder with the subfolders `train` and
    `val`, which hold the classes, keeps that split; otherwise every class is split.

    Raises:
        DataError: there is no class, a class has no image, or the lists exist.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    existing = [name for name in (TRAIN_LIST, VAL_LIST, LABEL_LIST) if (root / name).exists()]
    if existing and not overwrite:
        raise DataError(
            f"{root} has {', '.join(existing)} already; pass --overwrite to replace them"
        )
    if (root / "train").is_dir() and (root / "val").is_dir():
        classes = _class_folders(root / "train")
        names, labels = _list_images(root, "train", classes)
        val_names, val_labels = _list_images(root, "val", classes)
        is_val = np.arange(len(names) + len(val_names)) >= len(names)
        names, labels = names + val_names, labels + val_labels
    else:
        classes = _class_folders(root)
        names, labels = _list_images(root, "", classes)
        is_val = stratified_split(np.array(labels), val_ratio, seed)
    return _write_lists(root, names, np.array(labels), is_val, classes)


def stratified_split(labels: np.ndarray, val_ratio: float, seed: int = 0) -> np.ndarray:
    """Chooses the validation samples, from every class in proportion to its size.

    The total is `val_ratio` of all samples, rounded up. A class with more than one sample has at
    least one in training and one in validation.

    Args:
        labels: (N,) int.

    Returns:
        (N,) bool, true for validation.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * val_ratio
    chosen = np.floor(shares).astype(int)
    missing = int(np.ceil(shares.sum() - 1e-9)) - chosen.sum()
    # Largest remainders first; among equal ones the first class.
    chosen[np.argsort(chosen - shares, kind="stable")[:missing]] += 1
    chosen = np.where(counts > 1, np.clip(chosen, 1, counts - 1), 0)
    is_val = np.zeros(len(labels), dtype=bool)
    # RandomState's stream never changes between NumPy versions, Generator's may.
    random = np.random.RandomState(seed)
    for class_id, count in zip(classes, chosen):
        members = np.flatnonzero(labels == class_id)
        is_val[random.permutation(members)[:count]] = True
    return is_val


def _class_folders(root: Path) -> "list[str]":
    classes = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if len(classes) < 2:
        raise DataError(f"{root} must hold a folder of images per class; it has {len(classes)}")
    return classes


def _list_images(root: Path, part: str, classes: "list[str]") -> "tuple[list[str], list[int]]":
    """Paths relative to `root` of the images of `root/part/<class>`, at any depth, and labels."""
    names, labels, empty = [], [], []
    for label, class_name in enumerate(classes):
        found = sorted(
            path.relative_to(root).as_posix()
            for path in (root / part / class_name).rglob("*")
            if path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()
        )
        if not found:
            empty.append(class_name)
        names += found
        labels += [label] * len(found)
    if empty:
        raise DataError(f"{root / part}: no images of the classes {', '.join(empty)}")
    return names, labels


def _write_lists(
    folder: Path, names: Sequence[str], labels: np.ndarray, is_val: np.ndarray, classes: "list[str]"
) -> Lists:
    for list_name, members in ((TRAIN_LIST, ~is_val), (VAL_LIST, is_val)):
        lines = (f"{names[index]} {labels[index]}\n" for index in np.flatnonzero(members))
        write_bytes(folder / list_name, os.fsencode("".join(lines)))
    label_lines = (f"{label} {name}\n" for label, name in enumerate(classes))
    write_bytes(folder / LABEL_LIST, os.fsencode("".join(label_lines)))
    return Lists(folder, int((~is_val).sum()), int(is_val.sum()), len(classes))
