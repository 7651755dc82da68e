"""Bytes of an image file to RGB pixels: the one place where image files are decoded.

OpenCV decodes (`IMREAD_COLOR`: grey and palette become colour, 16 bits become 8, alpha is
dropped, the EXIF orientation is applied); Pillow reads the header before, except that of JPEG,
and decodes what OpenCV cannot (GIF, animated WebP: the first frame). OpenCV fills what is missing
of a truncated JPEG with grey and says nothing, and allocates whatever a header asks for; both are
refused here.
"""

import io
import re
from typing import Literal, Optional, Union

import cv2
import numpy as np
from PIL import Image, ImageOps

from ppcls.errors import ConfigError, DataError
from ppcls.registry import TRANSFORMS

#: Larger images are refused before decoding; 2**27 pixels are 400 MB of RGB.
MAX_PIXELS = 2**27

Backend = Literal["cv2", "pil"]

# OpenCV decodes to RGB from 4.11 on; before, it swaps what the JPEG library gives, to BGR.
_READ = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
_READ_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

_JPEG_SIGNATURE = b"\xff\xd8\xff"
#: Metadata stand within the first bytes of a file, in segments of up to 64 KB.
_METADATA = 2**18
_ORIENTATION = 0x0112
_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA
# 0xC4, 0xC8 and 0xCC are no frame headers.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In the compressed data of a scan, 0xFF is followed by 0 (a plain 0xFF), by a restart marker
# (0xD0..0xD7) or by another 0xFF (padding); anything else is the next marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def decode_image(data: bytes, backend: Backend = "cv2") -> np.ndarray:
    """Decodes an image file.

    Args:
        data: the bytes of the file.
        backend: library that decodes; they differ by rounding in JPEG.

    Returns:
        RGB (H, W, 3) uint8.

    Raises:
        DataError: says what is wrong with the file; the caller adds its name.
    """
    pixels, is_bgr = decode_pixels(data, backend)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels) if is_bgr else pixels


def decode_pixels(data: bytes, backend: Backend = "cv2") -> "tuple[np.ndarray, bool]":
    """As `decode_image`, in the order of channels that the library gives, and whether it is BGR."""
    if len(data) == 0:
        raise DataError("the file is empty")
    header = None
    if not (data.startswith(_JPEG_SIGNATURE) and _check_jpeg(data)):
        header = _read_header(data)
        _check_size(*header.size)
    if backend == "cv2":
        pixels = _decode_cv2(data)
        if pixels is not None:
            return pixels, _READ == cv2.IMREAD_COLOR
    return _decode_pil(header or _read_header(data)), False


def decode_reduced(data: bytes, factor: Literal[1, 2, 4, 8]) -> np.ndarray:
    """As `decode_image`, a JPEG file at 1 / `factor` of its width and height, rounded up."""
    if factor == 1:
        return decode_image(data)
    _check_jpeg(data)
    pixels = _decode_cv2(data, _READ_REDUCED[factor])
    if pixels is None:  # A kind of JPEG that only Pillow reads.
        whole = decode_image(data)
        size = tuple(-(-length // factor) for length in whole.shape[1::-1])
        return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def upright_jpeg_size(data: bytes) -> "Optional[tuple[int, int]]":
    """(width, height) that a JPEG file is decoded to; None of other files."""
    if not data.startswith(_JPEG_SIGNATURE):
        return None
    size = jpeg_size(data)
    if size is None or b"Exif" not in data[:_METADATA]:
        return size
    orientation = _read_header(data).getexif().get(_ORIENTATION, 1)
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def jpeg_size(data: bytes) -> "Optional[tuple[int, int]]":
    """(width, height) in the frame header of a JPEG file (ITU-T T.81, B.2.2); None without one.

    Takes microseconds, where Pillow's reading of all metadata takes a tenth of a millisecond.
    """
    position = 2
    while True:
        marker = _NEXT_MARKER.search(data, position)
        if marker is None:
            return None
        code, start = data[marker.start() + 1], marker.end()
        if code in _FRAME_HEADERS:
            height, width = (int.from_bytes(data[start + i : start + i + 2], "big") for i in (3, 5))
            return (width, height) if width and height else None
        if code in (_END_OF_IMAGE, _START_OF_SCAN):
            return None
        position = start + int.from_bytes(data[start : start + 2], "big")


def is_complete_jpeg(data: bytes) -> bool:
    """Whether a JPEG file has its end-of-image marker (ITU-T T.81, B.1.1.3).

    A thumbnail among the metadata has one of its own, which does not count; what cameras append
    after the image does not matter.
    """
    if data.endswith(bytes((0xFF, _END_OF_IMAGE))):
        return True
    position = 2
    while True:
        marker = _NEXT_MARKER.search(data, position)
        if marker is None:
            return False
        code = data[marker.start() + 1]
        if code == _END_OF_IMAGE:
            return True
        # Every other marker is followed by two bytes of length, themselves included.
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def _read_header(data: bytes) -> Image.Image:
    try:
        header = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise DataError("the file is not an image of a known format") from None
    except _UNREADABLE as error:
        raise DataError(f"the image cannot be read: {error}") from error
    return header


def _check_jpeg(data: bytes) -> bool:
    """Whether the size of a JPEG file could be read; it and the file's end are right then."""
    if not is_complete_jpeg(data):
        raise DataError("the JPEG file is truncated; copy or download it again")
    size = jpeg_size(data)
    if size is not None:
        _check_size(*size)
    return size is not None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the image has {width}x{height} pixels, more than the limit of {MAX_PIXELS}; "
            "make it smaller"
        )


def _decode_cv2(data: bytes, flags: int = _READ) -> Optional[np.ndarray]:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _decode_pil(image: Image.Image) -> np.ndarray:
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise DataError("the image has floating-point pixels; convert it to 8 or 16 bits")
        if image.mode.startswith("I"):
            # 16 bits of grey, which `convert` would clip at 255 instead of scaling.
            grey = (np.clip(np.asarray(image), 0, 65535) // 256).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))
    except _UNREADABLE as error:
        raise DataError(f"the image cannot be decoded: {error}") from error


@TRANSFORMS.register()
class DecodeImage:
    """Decodes the bytes of an image file; an array passes through.

    Args:
        to_rgb: give RGB; BGR otherwise.
        channel_first: give (3, H, W).
        to_np: accepted from PaddleClas; operators here always give arrays.
        backend: library that decodes.
        reduce: "auto" decodes JPEG photos at 1/2, 1/4 or 1/8 of their size where the operator
            that follows, RandCropImage or ResizeImage, needs no more: several times faster for
            large photos, and a little different (see `reduced_decode`), so for training only.

    Raises (when called):
        DataError: the bytes are not a whole, readable image.
    """

    def __init__(
        self,
        to_rgb: bool = True,
        channel_first: bool = False,
        to_np: bool = True,
        backend: Backend = "cv2",
        reduce: Literal["never", "auto"] = "never",
    ):
        if reduce == "auto" and (backend != "cv2" or not to_rgb or channel_first):
            raise ConfigError(
                "DecodeImage: `reduce: auto` gives RGB (H, W, 3) decoded by OpenCV; leave out "
                "to_rgb, channel_first and backend"
            )
        self.reduce = reduce
        self.to_rgb = to_rgb
        self.channel_first = channel_first
        self.backend = backend

    def __call__(self, image: Union[bytes, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        if not isinstance(image, np.ndarray):
            image = decode_image(image, self.backend)
        if not self.to_rgb:
            image = image[:, :, ::-1]
        return image.transpose(2, 0, 1) if self.channel_first else image
