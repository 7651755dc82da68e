"""What can be said of one image file: whether it decodes, its size, format, content hash."""

import hashlib
import io
import struct
from typing import Callable, NamedTuple, Optional, Union

import cv2
import numpy as np
from PIL import Image

from ppcls.data.transform.decode import decode_image

#: Bytes of a content hash: among 10**9 files, two different ones agree with probability 1e-21.
DIGEST_SIZE = 16
#: Bytes of a perceptual signature.
SIGNATURE_SIZE = 16

#: Grey levels between the darkest and lightest part of an image that has a signature.
_LEAST_CONTRAST = 8
_ORIENTATION_TAG = 274
_UPRIGHT = 1
_BROKEN_EXIF = (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error)


class ImageFacts(NamedTuple):
    """One readable image.

    width, height: as decoded, that is after the EXIF orientation was applied.
    """

    width: int
    height: int
    format: str
    mode: str
    is_rotated: bool


def content_digest(content: Union[bytes, np.ndarray]) -> bytes:
    """(DIGEST_SIZE,) bytes that are equal exactly if the contents are (BLAKE2b, RFC 7693).

    Args:
        content: the bytes of a file, or the pixels of an image that has no file of its own.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    if isinstance(content, np.ndarray):
        digest.update(repr((content.shape, content.dtype.str)).encode())
        content = np.ascontiguousarray(content)
    digest.update(content)
    return digest.digest()


def examine(
    content: Union[bytes, np.ndarray],
    decode: Callable[[bytes], np.ndarray] = decode_image,
) -> "tuple[ImageFacts, np.ndarray]":
    """Decodes an image as training does.

    Args:
        content: the bytes of a file, or RGB (H, W, 3) uint8.
        decode: gives RGB (H, W, 3) uint8 of a file's bytes.

    Returns:
        The facts and the pixels.

    Raises:
        DataError: the image cannot be decoded.
    """
    if isinstance(content, np.ndarray):
        height, width = content.shape[:2]
        return ImageFacts(width, height, "array", "RGB", False), content
    pixels = decode(content)
    height, width = pixels.shape[:2]
    # `decode` opened the same header, so this does not fail.
    with Image.open(io.BytesIO(content)) as header:
        format, mode = header.format or "unknown", header.mode
        is_rotated = _orientation(header) != _UPRIGHT
    return ImageFacts(width, height, format, mode, is_rotated), pixels


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none. Never decodes pixels."""
    try:
        if image.format == "TIFF":
            return image.tag_v2.get(_ORIENTATION_TAG, _UPRIGHT)
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return exif.get(_ORIENTATION_TAG, _UPRIGHT)
    except _BROKEN_EXIF:
        return _UPRIGHT


def signature(pixels: np.ndarray) -> Optional[np.ndarray]:
    """A perceptual hash: images that differ by scale, compression or brightness have close ones.

    The difference hash (N. Krawetz 2013, "Kind of Like That") in both directions: of the grey
    image at 9x9, whether each pixel is darker than its right neighbour, and than its lower one.

    Args:
        pixels: RGB (H, W, 3) uint8.

    Returns:
        (SIGNATURE_SIZE,) uint8, or None for an image without structure, whose bits are noise.
    """
    # Fractions of grey levels: rounded, many neighbours would be equal.
    small = _shrink(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32), 9)
    if small.max() - small.min() < _LEAST_CONTRAST:
        return None
    bits = (small[:8, 1:] > small[:8, :-1], small[1:, :8] > small[:-1, :8])
    return np.packbits(np.stack(bits).ravel())


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two images at 32x32, about the mean of each channel: 1 if they are the same.

    Args:
        one, other: RGB (H, W, 3) uint8, of any sizes.
    """
    one, other = (_shrink(pixels, 32).astype(np.float32) for pixels in (one, other))
    one -= one.mean(axis=(0, 1))
    other -= other.mean(axis=(0, 1))
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-9))


def _shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
