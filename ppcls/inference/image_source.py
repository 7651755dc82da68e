"""What a prediction is asked for: paths, folders, lists, bytes, arrays, and URLs where allowed."""

import os
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from ppcls.data.image_files import IMAGE_SUFFIXES, is_image_name
from ppcls.errors import DataError

Image = Union[str, "os.PathLike[str]", bytes, np.ndarray]

_URL_STARTS = ("http://", "https://")
_URL_TIMEOUT_SECONDS = 10
_LARGEST_DOWNLOAD = 64 << 20


class NamedImage(NamedTuple):
    """One image to predict, and what results call it."""

    name: str
    image: Image


def expand(source: "Union[Image, Iterable[Image]]") -> "Iterator[NamedImage]":
    """Every image of `source`, one at a time.

    Args:
        source: an image, or a list, tuple or iterator of them. An image is a path, a URL, the bytes
            of a file, or an RGB array (H, W, 3) uint8. The path of a folder stands for the image
            files in it, sorted.

    Raises:
        DataError: a folder holds no images.
    """
    if isinstance(source, (list, tuple, Iterator)):
        for number, item in enumerate(source):
            for image in expand(item):
                is_nameless = not isinstance(item, (str, os.PathLike))
                yield NamedImage(f"image {number}", image.image) if is_nameless else image
    elif isinstance(source, (bytes, np.ndarray)):
        yield NamedImage("image 0", source)
    elif _is_url(source):
        yield NamedImage(source, source)
    else:
        yield from _expand_path(Path(source))


def _is_url(image: Image) -> bool:
    return isinstance(image, str) and image.lower().startswith(_URL_STARTS)


def _expand_path(path: Path) -> "Iterator[NamedImage]":
    if not path.is_dir():
        yield NamedImage(str(path), path)
        return
    files = sorted(file for file in path.iterdir() if is_image_name(file.name))
    if not files:
        raise DataError(f"the folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    for file in files:
        yield NamedImage(str(file), file)


def read_image(image: Image, allow_urls: bool = False) -> "Union[bytes, np.ndarray]":
    """The bytes behind a path or URL; bytes and arrays as they are.

    Args:
        allow_urls: download images. Off, because whoever names a URL makes this machine ask for it.

    Raises:
        DataError: the file cannot be read or downloaded, or URLs are not allowed.
    """
    if isinstance(image, (bytes, np.ndarray)):
        return image
    if _is_url(image):
        return _download(image, allow_urls)
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise DataError(f"{image} cannot be read: {error.strerror}") from error


def _download(url: str, allow_urls: bool) -> bytes:
    if not allow_urls:
        raise DataError(
            f"{url} is not downloaded: URLs are off; switch them on with allow_urls=True "
            "(-o Global.allow_urls=True), where you trust whoever names them"
        )
    try:
        with urllib.request.urlopen(url, timeout=_URL_TIMEOUT_SECONDS) as response:
            content = response.read(_LARGEST_DOWNLOAD + 1)
    except (OSError, ValueError) as error:
        raise DataError(f"{url} cannot be downloaded: {error}") from error
    if len(content) > _LARGEST_DOWNLOAD:
        raise DataError(f"{url} is larger than {_LARGEST_DOWNLOAD >> 20} MiB")
    return content
