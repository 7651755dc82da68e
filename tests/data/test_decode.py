"""Files of every kind a dataset may hold, good and bad."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import encode, make_picture
from PIL import Image

from ppcls.data.transform import build_transforms
from ppcls.data.transform.decode import MAX_PIXELS, decode_image, is_complete_jpeg
from ppcls.errors import DataError

PICTURE = make_picture(61, 47)
BACKENDS = ["cv2", "pil"]


def pil_pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels_back(format, backend):
    assert np.array_equal(decode_image(encode(PICTURE, format), backend), PICTURE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_differs_between_libraries_by_rounding_only(options, backend):
    data = encode(PICTURE, "JPEG", quality=95, **options)
    difference = np.abs(decode_image(data, backend).astype(int) - pil_pixels(data))
    assert difference.max() <= 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_webp(backend):
    data = encode(PICTURE, "WEBP", lossless=True)
    assert np.array_equal(decode_image(data, backend), PICTURE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gif_and_animations_give_the_first_frame(backend):
    image = Image.fromarray(PICTURE).quantize(32)
    frames = [Image.fromarray(np.zeros_like(PICTURE))]
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode_image(encode(image, "GIF"), backend), expected)
    animated = encode(image, "GIF", save_all=True, append_images=frames)
    assert np.array_equal(decode_image(animated, backend), expected)
    animated = encode(PICTURE, "WEBP", save_all=True, append_images=frames, lossless=True)
    assert np.array_equal(decode_image(animated, backend), PICTURE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_grey_becomes_three_equal_channels(format, backend):
    data = encode(PICTURE[:, :, 1], format)
    decoded = decode_image(data, backend)
    difference = np.abs(decoded.astype(int) - pil_pixels(data))
    assert difference.max() <= (1 if format == "JPEG" else 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", [".png", ".tiff"])
def test_16_bit_grey_is_scaled_not_clipped(format, backend):
    grey = PICTURE[:, :, 1].astype(np.uint16) * 256 + 17
    decoded = decode_image(cv2.imencode(format, grey)[1].tobytes(), backend)
    assert np.array_equal(decoded[:, :, 0], PICTURE[:, :, 1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_16_bit_colour_png_keeps_the_high_byte(backend):
    data = cv2.imencode(".png", PICTURE[:, :, ::-1].astype(np.uint16) * 256 + 17)[1].tobytes()
    assert np.array_equal(decode_image(data, backend), PICTURE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_palette(backend):
    image = Image.fromarray(PICTURE).quantize(64)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode_image(encode(image, "PNG"), backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_black_and_white(backend):
    image = Image.fromarray(PICTURE).convert("1")
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode_image(encode(image, "PNG"), backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_is_dropped(format, backend):
    image = Image.fromarray(PICTURE).convert("RGBA")
    image.putalpha(Image.fromarray(PICTURE[:, :, 2]))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    assert np.array_equal(decode_image(encode(image, format, **options), backend), PICTURE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("format", "tolerance"), [("JPEG", 4), ("TIFF", 1)])
def test_cmyk(format, tolerance, backend):
    data = encode(Image.fromarray(PICTURE).convert("CMYK"), format)
    difference = np.abs(decode_image(data, backend).astype(int) - pil_pixels(data))
    assert difference.mean() <= tolerance


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (6, np.rot90(PICTURE, -1)),
        (8, np.rot90(PICTURE)),
    ],
)
def test_exif_orientation_is_applied(orientation, turned, backend):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(PICTURE, "JPEG", quality=95, exif=exif), backend)
    assert decoded.shape == turned.shape
    assert np.abs(decoded.astype(int) - turned).mean() < 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(format, part, backend):
    data = encode(PICTURE, format)
    with pytest.raises(DataError):
        decode_image(data[: int(len(data) * part)], backend)


def test_real_photos_cut_anywhere_are_refused(photos):
    for number, data in enumerate(photos):
        cut = int(len(data) * (0.05 + 0.9 * number / len(photos)))
        with pytest.raises(DataError, match=r"truncated|cannot be|not an image"):
            decode_image(data[:cut])
        assert decode_image(data).shape[2] == 3


def test_jpeg_padded_with_zeros_where_its_end_should_be_is_refused():
    data = encode(PICTURE, "JPEG")
    with pytest.raises(DataError, match="truncated"):
        decode_image(data[: len(data) // 2] + bytes(len(data) // 2))


def test_end_marker_of_a_thumbnail_does_not_count():
    exif = b"Exif\0\0" + encode(make_picture(16, 16), "JPEG")
    data = encode(PICTURE, "JPEG", exif=exif)
    assert is_complete_jpeg(data)
    assert not is_complete_jpeg(data[:-200])


def test_what_follows_the_end_of_a_jpeg_does_not_matter():
    data = encode(PICTURE, "JPEG", progressive=True)
    longer = data + b"appended by a camera" * 50
    assert is_complete_jpeg(longer)
    assert np.array_equal(decode_image(longer), decode_image(data))


@pytest.mark.parametrize(
    "data", [b"not an image" * 100, b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a"]
)
def test_what_is_not_an_image_is_refused(data):
    with pytest.raises(DataError):
        decode_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"])
def test_corrupt_files_decode_or_are_refused(format, backend):
    """Whatever the bytes are, nothing but a picture or a `DataError` comes out."""
    rng = np.random.default_rng(0)
    data = np.frombuffer(encode(PICTURE, format), np.uint8)
    for _ in range(40):
        corrupt = data.copy()
        where = rng.integers(len(data), size=rng.integers(1, 20))
        if rng.random() < 0.5:  # Headers are where the surprises are.
            where = where % 200 % len(data)
        corrupt[where] = rng.integers(256, size=len(where))
        try:
            decoded = decode_image(corrupt.tobytes(), backend)
        except DataError:
            continue
        assert decoded.dtype == np.uint8
        assert decoded.shape[2] == 3


def test_empty_file_is_refused():
    with pytest.raises(DataError, match="the file is empty"):
        decode_image(b"")


def test_floating_point_pixels_are_refused():
    grey = Image.fromarray(PICTURE[:, :, 0].astype(np.float32) / 255)
    with pytest.raises(DataError, match="floating-point"):
        decode_image(encode(grey, "TIFF"))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises a large image, in 100 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(12_000, 12_000), (100_000, 100_000)])
def test_decompression_bombs_are_refused_before_decoding(size, monkeypatch):
    assert size[0] * size[1] > MAX_PIXELS
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"pixels|cannot be read"):
        decode_image(bomb(*size))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_sizes(size):
    data = encode(np.zeros((size[1], size[0], 3), np.uint8), "PNG")
    assert decode_image(data).shape == (size[1], size[0], 3)


def test_operator_options():
    data = encode(PICTURE, "PNG")

    def run(**options):
        return build_transforms([{"DecodeImage": options}])(data)

    assert np.array_equal(run(), PICTURE)
    assert np.array_equal(run(to_rgb=False), PICTURE[:, :, ::-1])
    assert np.array_equal(run(channel_first=True), PICTURE.transpose(2, 0, 1))


def test_arrays_pass_through():
    assert build_transforms(["DecodeImage"])(PICTURE) is PICTURE
