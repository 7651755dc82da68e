"""What a prediction is asked for: paths, folders, lists, bytes and arrays."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from ppcls.data.image_files import IMAGE_SUFFIXES, is_image_name
from ppcls.errors import DataError

Image = Union[str, "os.PathLike[str]", bytes, np.ndarray]


class NamedImage(NamedTuple):
    """One image to predict, and what results call it."""

    name: str
    image: Image


def expand(source: "Union[Image, list[Image]]") -> "Iterator[NamedImage]":
    """Every image of `source`.

    Args:
        source: an image, or a list of them. An image is a path, the bytes of a file, or an RGB
            array (H, W, 3) uint8. The path of a folder stands for the image files in it, sorted.

    Raises:
        DataError: a path does not exist, or a folder holds no images.
    """
    if isinstance(source, (list, tuple)):
        for number, item in enumerate(source):
            for image in expand(item):
                is_nameless = not isinstance(item, (str, os.PathLike))
                yield NamedImage(f"image {number}", image.image) if is_nameless else image
    elif isinstance(source, (bytes, np.ndarray)):
        yield NamedImage("image 0", source)
    else:
        yield from _expand_path(Path(source))


def _expand_path(path: Path) -> "Iterator[NamedImage]":
    if not path.is_dir():
        yield NamedImage(str(path), path)
        return
    files = sorted(file for file in path.iterdir() if is_image_name(file.name))
    if not files:
        raise DataError(f"the folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    for file in files:
        yield NamedImage(str(file), file)


def read_image(image: Image) -> "Union[bytes, np.ndarray]":
    """The bytes of a path; bytes and arrays as they are.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(image, (bytes, np.ndarray)):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise DataError(f"{image} cannot be read: {error.strerror}") from error
