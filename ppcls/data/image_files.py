"""Finding image files."""

import os
from typing import Union

#: Suffixes of image files, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2")
_SUFFIXES = tuple(os.fsencode(suffix) for suffix in IMAGE_SUFFIXES)

PathLike = Union[str, "os.PathLike[str]"]


def is_image_name(name: Union[str, bytes]) -> bool:
    """Whether a file is called like an image."""
    return os.fsencode(name).lower().endswith(_SUFFIXES)


def class_folders(root: PathLike) -> "list[str]":
    """The sorted names of the folders in `root`, without those that begin with a dot.

    Raises:
        OSError: `root` cannot be read.
    """
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def images_under(root: PathLike, folder: str) -> "list[bytes]":
    """Paths, relative to `root`, of the image files in one of its folders, at any depth, sorted.

    Files and folders that begin with a dot do not count. The paths are bytes: they need not be
    UTF-8.
    """
    start = os.fsencode(root)
    found, pending = [], [os.fsencode(folder)]
    while pending:
        relative = pending.pop()
        with os.scandir(os.path.join(start, relative)) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                path = os.path.join(relative, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif is_image_name(entry.name):
                    found.append(path)
    return sorted(found)
