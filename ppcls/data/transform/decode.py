"""Bytes of an image file to RGB pixels: the one place where image files are decoded.

OpenCV decodes (`IMREAD_COLOR`: grey and palette become colour, 16 bits become 8, alpha is
dropped, the EXIF orientation is applied); Pillow reads the header before, and decodes what OpenCV
cannot (GIF, animated WebP: the first frame). OpenCV fills what is missing of a truncated JPEG
with grey and says nothing, and allocates whatever a header asks for; both are refused here.
"""

import io
import re
from typing import Literal, Optional, Union

import cv2
import numpy as np
from PIL import Image, ImageOps

from ppcls.errors import DataError
from ppcls.registry import TRANSFORMS

#: Larger images are refused before decoding; 2**27 pixels are 400 MB of RGB.
MAX_PIXELS = 2**27

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_END_OF_IMAGE = 0xD9
# In the compressed data of a scan, 0xFF is followed by 0 (a plain 0xFF), by a restart marker
# (0xD0..0xD7) or by another 0xFF (padding); anything else is the next marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def decode_image(data: bytes, backend: Literal["cv2", "pil"] = "cv2") -> np.ndarray:
    """Decodes an image file.

    Args:
        data: the bytes of the file.
        backend: library that decodes; they differ by rounding in JPEG.

    Returns:
        RGB (H, W, 3) uint8.

    Raises:
        DataError: says what is wrong with the file; the caller adds its name.
    """
    if len(data) == 0:
        raise DataError("the file is empty")
    if data.startswith(_JPEG_SIGNATURE) and not is_complete_jpeg(data):
        raise DataError("the JPEG file is truncated; copy or download it again")
    header = _read_header(data)
    if backend == "cv2":
        pixels = _decode_cv2(data)
        if pixels is not None:
            return pixels
    return _decode_pil(header)


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
    width, height = header.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the image has {width}x{height} pixels, more than the limit of {MAX_PIXELS}; "
            "make it smaller"
        )
    return header


def _decode_cv2(data: bytes) -> Optional[np.ndarray]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


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

    Raises (when called):
        DataError: the bytes are not a whole, readable image.
    """

    def __init__(
        self,
        to_rgb: bool = True,
        channel_first: bool = False,
        to_np: bool = True,
        backend: Literal["cv2", "pil"] = "cv2",
    ):
        self.to_rgb = to_rgb
        self.channel_first = channel_first
        self.backend = backend

    def __call__(self, image: Union[bytes, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        if not isinstance(image, np.ndarray):
            image = decode_image(image, self.backend)
        if not self.to_rgb:
            image = image[:, :, ::-1]
        return image.transpose(2, 0, 1) if self.channel_first else image
