"""Single operations of the automatic augmentations, against Pillow."""

import io

import numpy as np
import pytest
from operators import generator
from pictures import make_picture
from PIL import Image, ImageFilter, ImageOps

from ppcls.data.transform.augment_operations import OPERATIONS, Draw

PICTURE = make_picture(120, 90)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_augment_operations_keep_size_and_mode(name, level):
    image = Image.fromarray(PICTURE)
    result = OPERATIONS[name](image, level, Draw(generator(0)))
    assert result.size == image.size
    assert result.mode == "RGB"


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("PosterizeIncreasing", 0.5, lambda image: ImageOps.posterize(image, 2)),
        ("Posterize", 0.75, lambda image: ImageOps.posterize(image, 3)),
        ("PosterizeMild", 1.0, lambda image: ImageOps.posterize(image, 4)),
        ("PosterizeMild", 0.9, lambda image: ImageOps.posterize(image, 4)),
        ("PosterizeMildest", 0.9, lambda image: ImageOps.posterize(image, 5)),
        ("PosterizeOriginal", 0.6, lambda image: ImageOps.posterize(image, 6)),
        ("PosterizeMild", 0.0, lambda image: image),
        ("PosterizeIncreasing", 1.0, lambda image: Image.new("RGB", image.size)),
        ("SolarizeIncreasing", 0.25, lambda image: ImageOps.solarize(image, 192)),
        ("Solarize", 0.25, lambda image: ImageOps.solarize(image, 64)),
        ("Invert", 0.5, ImageOps.invert),
        ("Rotate", 0.0, lambda image: image),
        ("ShearX", 0.0, lambda image: image),
        ("TranslateXRel", 0.0, lambda image: image),
        ("ColorIncreasing", 0.0, lambda image: image),
        ("BrightnessIncreasing", 0.0, lambda image: image),
        ("TranslateX", 0.0, lambda image: image),
        ("TranslateY", 0.0, lambda image: image),
        ("Cutout", 0.0, lambda image: image),
        ("Color", 0.5, lambda image: image),
        ("SolarizeAdd", 1.0, lambda image: image.point(lambda v: v + 110 if v < 128 else v)),
    ],
)
def test_augment_operations_against_pillow(name, level, expected):
    image = Image.fromarray(PICTURE)
    result = OPERATIONS[name](image, level, Draw(generator(0)))
    assert np.array_equal(np.asarray(result), np.asarray(expected(image)))


def test_translation_moves_the_content_by_a_part_of_the_side():
    image = Image.fromarray(PICTURE)
    draw = Draw(generator(0), resample=Image.Resampling.BILINEAR, translate_fraction=0.5)
    moved = np.asarray(OPERATIONS["TranslateXRel"](image, 0.5, draw))
    to_right = np.array_equal(moved[:, 30:], PICTURE[:, :90])
    to_left = np.array_equal(moved[:, :90], PICTURE[:, 30:])
    assert to_right != to_left
    assert ((moved[:, :30] if to_right else moved[:, 90:]) == 128).all()


@pytest.fixture(scope="module")
def photo(photos) -> Image.Image:
    return Image.open(io.BytesIO(photos[3])).convert("RGB").resize((300, 200))


@pytest.mark.parametrize("resample", [0, 2, 3], ids=["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateY"])
def test_geometry_is_pillows(name, resample, photo):
    resample = Image.Resampling(resample)
    smooth = photo.filter(ImageFilter.GaussianBlur(3))
    for seed, level in ((0, 0.9), (2, 0.37)):
        draw = Draw(generator(seed), (10, 200, 90), resample)
        amount = level * Draw(generator(seed)).signed(1)
        for image in (photo, smooth):
            draw.rng = generator(seed)
            ours = np.asarray(OPERATIONS[name](image, level, draw)).astype(int)
            difference = np.abs(ours - np.asarray(geometry(name, image, amount, resample)))
            if resample == Image.Resampling.NEAREST:
                # A point between two pixels may go either way.
                assert (difference > 0).mean() < 1e-3
            elif image is photo:
                assert difference.mean() < 1.25  # Another bicubic, and Pillow's bilinear truncates.
            else:
                # Where filters hardly matter: the same place of every pixel, but for the border
                # of the image, 1000 of 60,000 pixels.
                assert (difference > 2).mean() < 1 / 60


def geometry(name, image, amount, resample) -> Image.Image:
    """The operation by Pillow alone; `amount` is the level with its sign."""
    options = {"resample": resample, "fillcolor": (10, 200, 90)}
    if name == "Rotate":
        return image.rotate(30 * amount, **options)
    matrix = {
        "ShearX": (1, 0.3 * amount, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, 0.3 * amount, 1, 0),
        "TranslateXRel": (1, 0, 0.45 * amount * image.width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, 100 * amount),
    }[name]
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **options)


def test_cutout_is_a_square_of_twice_40_pixels():
    image = Image.new("RGB", (300, 300), (255, 255, 255))
    draw = Draw(generator(5), fill=(1, 2, 3))
    hidden = (np.asarray(OPERATIONS["Cutout"](image, 0.5, draw)) == [1, 2, 3]).all(axis=2)
    assert hidden.sum() == 40 * 40


def test_small_cutout_is_black():
    image = Image.new("RGB", (300, 300), (255, 255, 255))
    hidden = np.asarray(OPERATIONS["CutoutSmall"](image, 0.5, Draw(generator(5)))) == 0
    assert hidden.sum() == 20 * 20 * 3


def test_absolute_translation_counts_pixels():
    image = Image.fromarray(make_picture(150, 40))
    draw = Draw(generator(0), resample=Image.Resampling.NEAREST, translate_pixels=100)
    moved = np.asarray(OPERATIONS["TranslateX"](image, 0.3, draw))
    pixels = np.asarray(image)
    assert np.array_equal(moved[:, 30:], pixels[:, :-30]) or np.array_equal(
        moved[:, :-30], pixels[:, 30:]
    )
