"""Operators that resize, crop, pad, turn and flip, against Pillow, OpenCV and NumPy."""

import math

import cv2
import numpy as np
import pytest
from operators import build, generator
from pictures import make_picture
from PIL import Image, ImageOps

from ppcls.data.transform import build_transforms
from ppcls.data.transform.crop import RandCropImage, RandomResizedCrop
from ppcls.errors import DataError

PICTURE = make_picture(120, 90)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"])
def test_pil_backend_is_pillows_resize(method):
    ours = build("ResizeImage", size=[50, 33], interpolation=method, backend="pil")(PICTURE, None)
    expected = Image.fromarray(PICTURE).resize((50, 33), Image.Resampling[method.upper()])
    assert np.array_equal(ours, np.asarray(expected))


@pytest.mark.parametrize(
    ("method", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("area", cv2.INTER_AREA),
        ("lanczos", cv2.INTER_LANCZOS4),
    ],
)
def test_cv2_backend_is_opencvs_resize(method, flag):
    ours = build("ResizeImage", size=[50, 33], interpolation=method)(PICTURE, None)
    assert np.array_equal(ours, cv2.resize(PICTURE, (50, 33), interpolation=flag))


def test_resize_short_keeps_the_aspect_ratio():
    resized = build("ResizeImage", resize_short=45)(PICTURE, None)
    assert resized.shape == (45, 60, 3)
    tall = build("ResizeImage", resize_short=45)(PICTURE.transpose(1, 0, 2), None)
    assert tall.shape == (60, 45, 3)


def test_random_interpolation_draws_bilinear_or_bicubic():
    operator = build("ResizeImage", size=40, interpolation="random", backend="pil")
    results = {operator(PICTURE, generator(seed)).tobytes() for seed in range(20)}
    methods = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    assert results == {
        np.asarray(Image.fromarray(PICTURE).resize((40, 40), method)).tobytes()
        for method in methods
    }


@pytest.mark.parametrize("name", ["CropImage", "RandomCropImage"])
def test_a_crop_larger_than_the_image_is_refused(name):
    with pytest.raises(DataError, match="cuts out 121x90 pixels, but the image has 120x90"):
        build(name, size=[121, 90])(PICTURE, generator(0))
    whole = build(name, size=[120, 90])(PICTURE, generator(0))
    assert np.array_equal(whole, PICTURE)


def test_crop_image_at_ratio_is_resize_and_crop():
    """Of a smooth picture, the same content to within the interpolation."""
    y, x = np.mgrid[0:90, 0:120]
    smooth = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    ours = build("CropImageAtRatio", size=40, pad=5)(smooth, None)
    steps = [{"ResizeImage": {"resize_short": 45}}, {"CropImage": {"size": 40}}]
    expected = build_transforms(steps)(smooth)
    assert np.abs(ours.astype(int) - expected).max() <= 2


def test_pad_is_numpys():
    for padding, widths in (
        (3, ((3, 3), (3, 3))),
        ([2, 5], ((5, 5), (2, 2))),
        ([1, 2, 3, 4], ((2, 4), (1, 3))),
    ):
        padded = build("Pad", padding=padding, fill=7)(PICTURE, None)
        assert np.array_equal(padded, np.pad(PICTURE, (*widths, (0, 0)), constant_values=7))
    for mode in ("edge", "reflect", "symmetric"):
        padded = build("Pad", padding=5, padding_mode=mode)(PICTURE, None)
        assert np.array_equal(padded, np.pad(PICTURE, ((5, 5), (5, 5), (0, 0)), mode))
    for fill in (9, [1, 2, 3]):
        colour = (9, 9, 9) if fill == 9 else tuple(fill)
        expected = ImageOps.expand(Image.fromarray(PICTURE), border=3, fill=colour)
        padded = build("Pad", padding=3, fill=fill)(PICTURE, None)
        assert np.array_equal(padded, np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "widths"),
    [
        ({"size": [130, 100]}, ((0, 10), (0, 10))),
        ({"size": [131, 101], "pad_mode": 1}, ((5, 6), (5, 6))),
        ({"size": 140, "pad_mode": 2}, ((50, 0), (20, 0))),
        ({"size": 140, "pad_mode": -1, "offsets": [3, 7]}, ((7, 43), (3, 17))),
        ({"size_divisor": 32}, ((0, 6), (0, 8))),
        ({"size_divisor": 30, "pad_mode": 1}, ((0, 0), (0, 0))),
    ],
)
@pytest.mark.parametrize("fill", [0, 127.5])
def test_padv2_is_numpys(arguments, widths, fill):
    padded = build("Padv2", fill_value=fill, **arguments)(PICTURE, None)
    assert padded.dtype == (np.uint8 if fill == 0 else np.float32)
    expected = np.pad(PICTURE.astype(np.float32), (*widths, (0, 0)), constant_values=fill)
    assert np.array_equal(padded, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 100}, r"of \(width, height\) \(100, 100\), .* this one of \(120, 90\)"),
        ({"pad_mode": -1, "offsets": [9, 0]}, r"multiples of 32, at the offset \(9, 0\)"),
    ],
)
def test_padv2_names_an_image_that_does_not_fit(arguments, message):
    with pytest.raises(DataError, match=message):
        build("Padv2", **arguments)(PICTURE, None)


def test_crop_with_padding_keeps_a_part_in_its_place():
    operator = build("CropWithPadding", scale=[0.2, 0.5], padding_num=7)
    left, top, width, height = RandomResizedCrop(8, scale=(0.2, 0.5)).draw_box(120, 90, after_one())
    expected = np.full_like(PICTURE, 7)
    part = np.s_[top : top + height, left : left + width]
    expected[part] = PICTURE[part]
    assert np.array_equal(operator(PICTURE, generator(0)), expected)


def after_one() -> np.random.Generator:
    """`generator(0)` after the number that decides whether an operator acts."""
    rng = generator(0)
    rng.random()
    return rng


@pytest.mark.parametrize(
    ("longest", "size"), [(0.0, (75, 50)), (1.0, (60, 40)), (0.5, (67, 44)), (0.25, (71, 47))]
)
def test_resize_keep_ratio_covers_or_fits(longest, size):
    image = make_picture(120, 80)
    ours = build("ResizeKeepRatio", size=[60, 50], longest=longest)(image, None)
    assert np.array_equal(ours, cv2.resize(image, size))


@pytest.mark.parametrize("fill", [0, 77, [10, 20, 30]])
def test_rotation_is_pillows(fill):
    operator = build("RandomRotation", prob=1.0, degrees=[30, 30], fill=fill, expand=True)
    colour = (fill,) * 3 if isinstance(fill, int) else tuple(fill)
    expected = Image.fromarray(PICTURE).rotate(30, expand=True, fillcolor=colour)
    assert np.array_equal(operator(PICTURE, generator(0)), np.asarray(expected))


def test_rotation_by_a_quarter_is_numpys():
    operator = build("RandomRotation", prob=1.0, degrees=[90, 90])
    square = make_picture(64, 64)
    assert np.array_equal(operator(square, generator(0)), np.rot90(square))


def test_rotation_keeps_to_its_range():
    operator = build("RandomRotation", prob=0.5, degrees=10)
    rng = generator(1)
    white = np.full((99, 99, 3), 255, np.uint8)
    black = [(operator(white, rng) == 0).mean() for _ in range(300)]
    assert 0.4 < np.mean(np.array(black) == 0) < 0.6
    assert (
        max(black) <= (build("RandomRotation", prob=1.0, degrees=[10, 10])(white, rng) == 0).mean()
    )


def test_random_resized_crop_draws_what_it_says():
    operator = RandomResizedCrop([30, 40], scale=(0.2, 0.6), ratio=(0.5, 2.0))
    rng = generator(0)
    boxes = np.array([operator.draw_box(400, 300, rng) for _ in range(2000)])
    left, top, width, height = boxes.T
    assert min(left.min(), top.min()) >= 0
    assert (left + width).max() <= 400
    assert (top + height).max() <= 300
    assert ((width + 1) / (height - 1)).min() >= 0.5
    assert ((width - 1) / (height + 1)).max() <= 2
    area = width * height / (400 * 300)
    assert 0.195 < area.min() < 0.25
    assert 0.55 < area.max() < 0.605
    left, top, width, height = operator.draw_box(120, 90, generator(4))
    expected = cv2.resize(PICTURE[top : top + height, left : left + width], (40, 30))
    assert np.array_equal(operator(PICTURE, generator(4)), expected)


def test_random_resized_crop_of_what_cannot_fit_is_central():
    operator = RandomResizedCrop(30, scale=(0.9, 1.0), ratio=(1.0, 1.0 + 1e-9))
    assert operator.draw_box(400, 100, generator(0)) == (150, 0, 100, 100)
    assert operator.draw_box(100, 400, generator(0)) == (0, 150, 100, 100)


@pytest.mark.parametrize("use_log_aspect", [False, True])
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1000, 20)])
def test_random_crop_has_the_area_and_the_aspect_asked_for(use_log_aspect, size):
    crop = RandCropImage(64, scale=(0.2, 0.9), use_log_aspect=use_log_aspect)
    rng = generator(0)
    for _ in range(500):
        left, top, width, height = crop.draw_box(*size, rng)
        assert 0 <= left <= left + width <= size[0]
        assert 0 <= top <= top + height <= size[1]
        # Rounding down to whole pixels moves them by one pixel at most.
        assert (width + 1) / height >= 3 / 4
        assert width / (height + 1) <= 4 / 3
        area = (width + 1) * (height + 1) / (size[0] * size[1])
        largest = min(size[0] / size[1] / (3 / 4), size[1] / size[0] * (4 / 3), 1)
        assert area >= min(0.2, largest * 0.5)
        assert width * height <= 0.9 * size[0] * size[1]


def test_random_crop_is_the_resized_part():
    crop = RandCropImage(32, interpolation="bicubic", backend="pil")
    left, top, width, height = crop.draw_box(120, 90, generator(4))
    part = Image.fromarray(PICTURE[top : top + height, left : left + width])
    expected = part.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(crop(PICTURE, generator(4)), np.asarray(expected))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 500), (500, 1)])
def test_random_crop_of_tiny_and_thin_images(size):
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for seed in range(50):
        assert build("RandCropImage", size=16)(image, generator(seed)).shape == (16, 16, 3)


def test_flip_is_fair_and_right():
    for code, mirrored in (
        (1, PICTURE[:, ::-1]),
        (0, PICTURE[::-1]),
        (-1, PICTURE[::-1, ::-1]),
    ):
        flip = build("RandFlipImage", flip_code=code)
        rng = generator(0)
        results = [flip(PICTURE, rng) for _ in range(400)]
        flipped = sum(np.array_equal(result, mirrored) for result in results)
        assert flipped + sum(np.array_equal(result, PICTURE) for result in results) == 400
        assert 150 < flipped < 250


def test_log_aspect_is_symmetric():
    """Wide and tall parts are equally likely."""
    crop = RandCropImage(8, scale=(0.1, 0.2), ratio=(0.25, 4.0), use_log_aspect=True)
    rng = generator(0)
    boxes = [crop.draw_box(1000, 1000, rng) for _ in range(2000)]
    logs = [math.log(width / height) for _, _, width, height in boxes]
    assert abs(np.mean(logs)) < 0.06


def test_random_horizontal_flip_mirrors_left_and_right():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    always, never = build("RandomHorizontalFlip", prob=1.0), build("RandomHorizontalFlip", prob=0.0)
    rng = np.random.default_rng(0)
    assert np.array_equal(always(image, rng), image[:, ::-1])
    assert np.array_equal(never(image, rng), image)
