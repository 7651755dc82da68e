"""Operators that change the values of pixels: blur, normalisation, erasing, colours."""

import re

import cv2
import numpy as np
import pytest
from operators import build, generator
from pictures import make_picture

from ppcls.data.transform import build_transforms
from ppcls.data.transform.blur import motion_kernel
from ppcls.errors import DataError

PICTURE = make_picture(120, 90)
NORMALIZED = (PICTURE / 128 - 1).astype(np.float32)


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    noise = generator(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    rng = generator(0)
    blurred = [build("BlurImage", ratio=1.0)(noise, rng) for _ in range(50)]
    assert all(abs(image.mean() - noise.mean()) < 1.5 for image in blurred)
    assert all(image.std() < 0.85 * noise.std() for image in blurred)
    rng = generator(0)
    kept = sum(build("BlurImage", ratio=0.3)(noise, rng) is noise for _ in range(400))
    assert 0.6 < kept / 400 < 0.8


def test_motion_kernel_is_a_line_of_sum_one():
    assert np.allclose(motion_kernel(5, 0), np.eye(5) / 5)
    assert np.allclose(motion_kernel(7, 45).sum(axis=1).argmax(), 3)
    assert np.isclose(motion_kernel(9, 31.0).sum(), 1)


@pytest.mark.parametrize("order", ["hwc", "", None])
def test_normalize_is_the_arithmetic_in_float32(order):
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    operator = build("NormalizeImage", scale=1 / 255, mean=mean, std=std, order=order)
    f32 = np.float32
    expected = (PICTURE.astype(f32) * f32(1 / 255) - np.array(mean, f32)) / np.array(std, f32)
    assert np.array_equal(operator(PICTURE, None), expected)
    # A second normalisation, of what is not uint8 any more.
    again = (expected * f32(1 / 255) - np.array(mean, f32)) / np.array(std, f32)
    assert np.array_equal(operator(expected, None), again)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float16])
def test_normalize_takes_any_number(dtype):
    operator = build("NormalizeImage", order="hwc")
    assert np.array_equal(operator(PICTURE.astype(dtype), None), operator(PICTURE, None))


def test_normalized_images_are_planes_in_memory():
    normalized = build("NormalizeImage", order="hwc")(PICTURE, None)
    assert build("ToCHWImage")(normalized, None).flags.c_contiguous
    erased = build("RandomErasing", EPSILON=1.0, mode="pixel")(normalized, generator(0))
    assert build("ToCHWImage")(erased, None).flags.c_contiguous


def test_normalize_before_and_after_to_chw_agree():
    before = build_transforms([{"NormalizeImage": {"order": "hwc"}}, "ToCHWImage"])(PICTURE)
    after = build_transforms(["ToCHWImage", {"NormalizeImage": {"order": "chw"}}])(PICTURE)
    assert np.array_equal(before, after)
    assert before.shape == (3, 90, 120)


@pytest.mark.parametrize(("order", "shape"), [("chw", "(3, H, W)"), ("hwc", "(H, W, 3)")])
def test_normalize_names_the_wrong_layout(order, shape):
    image = PICTURE if order == "chw" else PICTURE.transpose(2, 0, 1)
    with pytest.raises(DataError, match=re.escape(f"NormalizeImage expects {shape}")):
        build("NormalizeImage", order=order)(image, None)


@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("use_log_aspect", [False, True])
def test_random_erasing_hides_one_rectangle(layout, use_log_aspect):
    operator = build(
        "RandomErasing",
        EPSILON=1.0,
        sl=0.1,
        sh=0.3,
        r1=0.5,
        mean=[7, 8, 9],
        use_log_aspect=use_log_aspect,
    )
    image = NORMALIZED if layout == "hwc" else NORMALIZED.transpose(2, 0, 1)
    for seed in range(50):
        erased = operator(image, generator(seed))
        assert erased.shape == image.shape
        rows_first = erased if layout == "hwc" else erased.transpose(1, 2, 0)
        changed = (rows_first != NORMALIZED).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert changed.sum() == height * width
        assert (rows_first[changed] == [7, 8, 9]).all()
        assert 0.09 < height * width / (90 * 120) < 0.31
        assert 0.48 < height / width < 2.1


def test_random_erasing_pixel_mode_is_standard_normal_noise():
    operator = build("RandomErasing", EPSILON=1.0, sl=0.5, sh=0.6, mode="pixel")
    erased = operator(np.full((200, 200, 3), 99, np.float32), generator(0))
    noise = erased[erased != 99]
    assert noise.size > 200 * 200
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_random_erasing_rand_mode_is_one_colour_and_epsilon_the_frequency():
    operator = build("RandomErasing", EPSILON=0.25, mode="rand")
    rng = generator(0)
    results = [operator(NORMALIZED, rng) for _ in range(400)]
    erased = [
        r[(r != NORMALIZED).any(axis=2)] for r in results if not np.array_equal(r, NORMALIZED)
    ]
    assert 70 < len(erased) < 130
    assert all((pixels == pixels[0]).all() for pixels in erased)


def test_cutout_without_a_colour_draws_one():
    for fill in (None, "none"):
        operator = build("Cutout", n_holes=1, length=20, fill_value=fill)
        colours = {
            tuple(operator(np.zeros((9, 9, 3), np.uint8), generator(s))[4, 4]) for s in range(9)
        }
        assert len(colours) == 9


def test_cutout_hide_and_seek_and_grid_mask_hide_what_they_say():
    white = np.full((96, 128, 3), 255, np.uint8)
    hole = build("Cutout", length=20)(white, generator(3))
    assert 10 * 10 <= (hole == 0).all(axis=2).sum() <= 20 * 20
    parts = [(build("HideAndSeek")(white, generator(s)) == 0).mean() for s in range(60)]
    assert min(parts) == 0
    assert 0.3 < np.mean(parts) < 0.5  # Half of the cells, four times out of five.
    grid = build("GridMask", d1=20, d2=21, ratio=0.5)(white, generator(1))
    assert abs((grid == 0).mean() - 0.75) < 0.05
    inverse = build("GridMask", d1=20, d2=21, ratio=0.5, mode=1)(white, generator(1))
    assert np.array_equal(inverse, 255 - grid)


def test_color_jitter_stays_in_its_range():
    grey = np.full((8, 8, 3), 100, np.uint8)
    jitter = build("ColorJitter", brightness=0.3)
    values = {int(jitter(grey, generator(seed))[0, 0, 0]) for seed in range(200)}
    assert min(values) >= 70
    assert max(values) <= 130
    assert len(values) > 30
    assert build("ColorJitter", brightness=0.0)(PICTURE, generator(0)) is PICTURE
    assert build("ColorJitter", brightness=[0.5, 0.5])(grey, generator(0))[0, 0, 0] == 50


def test_color_jitter_follows_prob():
    grey = np.full((8, 8, 3), 100, np.uint8)
    for prob, low, high in ((0.3, 0.2, 0.4), (2, 1, 1)):  # PaddleClas's default is 2: always.
        jitter = build("ColorJitter", brightness=[0.5, 0.5], prob=prob)
        rng = generator(0)
        changed = np.mean([jitter(grey, rng)[0, 0, 0] == 50 for _ in range(300)])
        assert low <= changed <= high


def test_hue_turns_round_the_circle():
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 200
    turned = build("ColorJitter", hue=[1 / 3, 1 / 3])(red, generator(0))
    assert turned[0, 0].argmax() == 1
    turned = build("ColorJitter", hue=[-1 / 3, -1 / 3])(red, generator(0))
    assert turned[0, 0].argmax() == 2


def test_grayscale_is_opencvs():
    grey = build("RandomGrayscale", p=1.0)(PICTURE, generator(0))
    assert np.array_equal(grey[:, :, 0], cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY))
    assert np.array_equal(grey[:, :, 0], grey[:, :, 2])


def test_pca_lighting_shifts_all_pixels_alike():
    image = NORMALIZED.astype(np.float64)
    shift = build("PCALighting")(image, generator(0)) - image
    assert np.allclose(shift, shift[0, 0])
    assert 0 < np.abs(shift[0, 0]).max() < 0.1
