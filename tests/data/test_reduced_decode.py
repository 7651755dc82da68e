"""`DecodeImage: {reduce: auto}`: nearly the same pixels, for less."""

import cv2
import numpy as np
import pytest
from pictures import encode, make_picture
from PIL import Image

from ppcls.data.transform import build_transforms
from ppcls.data.transform.decode import decode_image, decode_reduced, upright_jpeg_size
from ppcls.data.transform.reduced_decode import ReducedDecode
from ppcls.errors import ConfigError, DataError

RESIZES = {
    "crop": {"RandCropImage": {"size": 64, "interpolation": "bicubic", "backend": "pil"}},
    "crop by OpenCV": {"RandCropImage": {"size": [60, 50], "interpolation": "area"}},
    "resize": {"ResizeImage": {"resize_short": 96, "interpolation": "bicubic", "backend": "pil"}},
}


def pipelines(resize: dict):
    """The pipeline that reduces, and the one that does not."""
    return tuple(
        build_transforms([{"DecodeImage": {"reduce": reduce}}, resize])
        for reduce in ("auto", "never")
    )


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES)
def test_close_to_full_decoding_of_photos(photos, resize):
    """On average less than 4 of 255 levels apart, of the same part of the photo."""
    reducing, whole = pipelines(resize)
    differences = []
    for number, data in enumerate(photos[:16]):
        rng, other = np.random.default_rng(number), np.random.default_rng(number)
        image, expected = reducing(data, rng), whole(data, other)
        assert image.shape == expected.shape
        assert rng.random() == other.random()
        differences.append(np.abs(image.astype(int) - expected).mean())
    assert 0 < np.mean(differences) < 4
    assert max(differences) < 10


@pytest.mark.parametrize(
    ("short", "side"), [(64, 50), (63, 101), (32, 101), (15, 101), (12, 101), (300, 400)]
)
def test_never_smaller_than_what_follows_needs(monkeypatch, short, side):
    """The picture of 400x404 may be decoded at 1/8 for sides up to 50."""
    picture = encode(make_picture(404, 400), "JPEG")
    decoded = []
    original = cv2.imdecode

    def imdecode(data, flags):
        decoded.append(original(data, flags))
        return decoded[-1]

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    reducing, _ = pipelines({"ResizeImage": {"resize_short": short}})
    assert min(reducing(picture).shape[:2]) == short
    (pixels,) = decoded
    assert min(pixels.shape[:2]) >= short
    assert min(pixels.shape[:2]) < 2 * short or min(pixels.shape[:2]) == 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(make_picture(320, 200), "JPEG", exif=exif)
    whole = decode_image(data)
    assert upright_jpeg_size(data) == whole.shape[1::-1]
    assert decode_reduced(data, 4).shape[:2] == (whole.shape[0] // 4, whole.shape[1] // 4)


def test_other_files_and_arrays_are_taken_whole():
    reducing, whole = pipelines(RESIZES["resize"])
    picture = make_picture(500, 400)
    for image in (picture, encode(picture, "PNG"), encode(picture, "GIF")):
        assert np.array_equal(reducing(image), whole(image))


def test_broken_files_are_refused_alike():
    reducing, whole = pipelines(RESIZES["resize"])
    data = encode(make_picture(500, 400), "JPEG")
    for broken in (data[:-500], data[:20], b"\xff\xd8\xff", b"", b"text"):
        with pytest.raises(DataError) as caught:
            whole(broken)
        with pytest.raises(DataError) as other:
            reducing(broken)
        assert str(other.value) == str(caught.value)


def test_off_by_default_and_only_where_the_operator_is_known():
    default = build_transforms(["DecodeImage", RESIZES["resize"]])
    assert not any(isinstance(step, ReducedDecode) for step in default.steps)
    elsewhere = build_transforms([{"DecodeImage": {"reduce": "auto"}}, {"CropImage": {"size": 9}}])
    assert elsewhere.steps == elsewhere.operators
    with pytest.raises(ConfigError, match="reduce: auto"):
        build_transforms([{"DecodeImage": {"reduce": "auto", "to_rgb": False}}])
