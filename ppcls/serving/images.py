"""Images of requests: base64, limits, and addresses to fetch from where that is enabled."""

import base64
import binascii
import io
import urllib.error
import urllib.request
from typing import Optional
from urllib.parse import urlsplit

from PIL import Image

from ppcls.data.transform.decode import jpeg_size
from ppcls.serving.errors import Forbidden, RequestError, TooLarge, Unprocessable
from ppcls.serving.settings import Settings


def from_text(text: str, settings: Settings, timeout: float) -> bytes:
    """The bytes of an image that JSON gives as base64 (a `data:` URL too) or as an address.

    Raises:
        RequestError: it is neither, or must not or cannot be fetched.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        return _fetch(text, settings, timeout)
    return from_base64(text)


def from_base64(text: str) -> bytes:
    """Decodes base64, standard or URL-safe, with or without padding and line breaks.

    Raises:
        Unprocessable: it is not base64.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        compact = b"".join(text.encode("ascii").split()).translate(_TO_STANDARD)
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Unprocessable("the image is not valid base64") from None


#: Blocks of a GIF file before its first image; metadata take some hundreds at most.
_GIF_BLOCKS = 10_000
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def check_pixels(data: bytes, limit: int) -> None:
    """Refuses an image by what its header says, before anything is decoded.

    What has no readable header passes: decoding says what is wrong with it. Refused here is what
    would keep Pillow searching for seconds.

    Raises:
        TooLarge: it has more than `limit` pixels.
        Unprocessable: a JPEG file does not say how large it is, or a GIF file holds no image.
    """
    size = _size(data)
    if size is not None and size[0] * size[1] > limit:
        raise TooLarge(
            f"the image has {size[0]}x{size[1]} pixels, more than the limit of {limit}; "
            "make it smaller"
        )


def _size(data: bytes) -> "Optional[tuple[int, int]]":
    if data.startswith(b"\xff\xd8\xff"):
        size = jpeg_size(data)
        if size is None:
            # Pillow would look for a header byte by byte, seconds for some megabytes.
            raise Unprocessable("the JPEG file has no frame header, which says how large it is")
        return size
    if data[:6] in (b"GIF87a", b"GIF89a") and not _has_gif_image(data):
        raise Unprocessable("the GIF file holds no image")
    try:
        with Image.open(io.BytesIO(data)) as header:
            return header.size
    except Image.DecompressionBombError as error:
        raise TooLarge(str(error)) from None
    except (OSError, ValueError, SyntaxError, EOFError):
        return None


def _has_gif_image(data: bytes) -> bool:
    """Whether extensions, if any, lead to an image; Pillow would look for one byte by byte."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    in_extension = False
    for _ in range(_GIF_BLOCKS):
        if position >= len(data):
            return False
        value = data[position]
        if in_extension:
            position += 1 + value
            in_extension = value > 0
        elif value == 0x21:
            position += 2
            in_extension = True
        else:
            return value == 0x2C
    return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A host of the list must not lead to one that is not on it."""

    def redirect_request(self, *arguments: object) -> None:
        return None


# Without the proxies of the environment: the list of hosts says where connections go.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def _fetch(url: str, settings: Settings, timeout: float) -> bytes:
    try:
        parts = urlsplit(url)
        host, location = parts.hostname or "", parts.netloc.rpartition("@")[2]
    except ValueError:
        raise Unprocessable("the address of the image is malformed") from None
    if not settings.url_hosts:
        raise Forbidden("this server fetches no images; send the image itself as base64")
    allowed = {name.lower() for name in settings.url_hosts}
    if host not in allowed and location.lower() not in allowed:
        raise Forbidden("this server does not fetch images from that host")
    try:
        with _OPENER.open(url, timeout=timeout) as response:
            data = response.read(settings.max_body_bytes + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise _fetch_error(error) from None
    if len(data) > settings.max_body_bytes:
        raise TooLarge(f"the image has more than {settings.max_body_bytes} bytes")
    return data


def _fetch_error(error: Exception) -> RequestError:
    if isinstance(error, urllib.error.HTTPError):
        return Unprocessable(f"the image cannot be fetched: its host answers {error.code}")
    return Unprocessable("the image cannot be fetched: its host does not answer")
