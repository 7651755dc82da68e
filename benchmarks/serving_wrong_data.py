"""Data that a server must not fall over: values, bytes for HTTP, image files.

`serving_requests.py` puts them into requests.
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

#: Values that stand where others are expected.
WRONG_VALUES: "list[Any]" = [
    *(None, True, -1, 0, 10**30, 1e308, -0.0, "", "\0", "ü" * 50, "a" * 100_000, [], {}, [[[[]]]]),
    *([None] * 1000, {"a": {"b": {}}}, "http://127.0.0.1:1/", "data:,", float("nan"), "[" * 5000),
]
_POST = b"POST /image-classification HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
#: Whole requests that are no proper HTTP.
BROKEN_HTTP = [
    b"\0" * 100,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    _POST + b"Content-Length: -5\r\n\r\n",
    _POST + b"Content-Length: 1e3\r\n\r\n",
    _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    _POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    _CHUNKED + b"\r\nZZ\r\n",
    _CHUNKED + b"\r\nFFFFFFFFFFFFFFFFF\r\n",
    _CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"%2e%2e/" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]
#: What image and other files begin with.
_SIGNATURES = [
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0"),
    *(b"%!PS-Adobe", b"P6 ", b"\0\0\1\0", b"/* XPM */", b"\0\0\0\x0cjP  "),
]


def leaves(node: Any) -> "Iterator[tuple[Any, Any]]":
    """(container, key) of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, (dict, list)) and len(value) < 10:
            yield from leaves(value)


def encode_image(pixels: np.ndarray, kind: str) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def wrong_image(rng: random.Random, images: "list[bytes]") -> bytes:
    """What stands in place of an image file, by itself or made of one of `images`."""
    way = rng.randrange(6)
    if way == 0:
        return rng.randbytes(rng.randint(0, 5000))
    if way == 1:
        return png_bomb(rng.choice([1, 60_000, 2**31 - 1]), rng.choice([1, 60_000]))
    if way == 2:
        return rng.choice(_SIGNATURES) + bytes(rng.choice([0, 100, 3_000_000]))
    image = bytearray(rng.choice(images))
    if way == 3:
        return bytes(image[: rng.randrange(1, len(image))])
    for _ in range(rng.randint(1, 30)):
        image[rng.randrange(len(image))] = rng.randrange(256)
    return bytes(image)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds a megabyte of zeros, packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
