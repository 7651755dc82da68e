"""Operators against the definitions of Pillow, OpenCV and NumPy, and against their own promises."""

import math
import pickle
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pictures import RECIPE, make_picture
from PIL import Image, ImageOps

from ppcls.data.transform import build_transforms
from ppcls.data.transform.augment_operations import OPERATIONS, Draw
from ppcls.data.transform.blur import motion_kernel
from ppcls.data.transform.crop import RandCropImage, RandomResizedCrop
from ppcls.errors import ConfigError, DataError
from ppcls.registry import TRANSFORMS

PICTURE = make_picture(120, 90)
NORMALIZED = (PICTURE / 128 - 1).astype(np.float32)
NEEDS = {
    "ResizeImage": {"size": [40, 30]},
    "CropImage": {"size": [40, 30]},
    "CropImageAtRatio": {"size": 40, "pad": 8},
    "RandCropImage": {"size": [40, 30]},
    "RandomCropImage": {"size": [40, 30]},
    "RandCropImageV2": {"size": [40, 30]},
    "RandomResizedCrop": {"size": [30, 40]},
    "ResizeKeepRatio": {"size": [40, 45]},
    "Pad": {"padding": 4},
    "Padv2": {"size": [130, 100], "fill_value": 0},
    "AugMix": {"prob": 0.9},
    "NormalizeImage": {"order": "hwc"},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "RandomErasing": {"EPSILON": 1.0},
    "RandomGrayscale": {"p": 0.5},
    "Cutout": {"length": 30, "fill_value": None},
    "GridMask": {"d1": 20, "d2": 40},
}
SIZES = {
    name: (30, 40) for name, arguments in NEEDS.items() if arguments.get("size") == [40, 30]
} | {
    "CropImageAtRatio": (40, 40),
    "Pad": (98, 128),
    "Padv2": (100, 130),
    "RandomResizedCrop": (30, 40),
    "ResizeKeepRatio": (45, 60),
}


def build(name: str, **arguments):
    return TRANSFORMS.build({name: arguments or NEEDS.get(name)})


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_every_operator_is_a_function_of_image_and_generator(name):
    """Same image and generator, same result; the image given is never changed."""
    operator = pickle.loads(pickle.dumps(build(name)))
    image = PICTURE.copy()
    results = [operator(image, generator(seed)) for seed in (1, 1, *range(2, 12))]
    assert np.array_equal(image, PICTURE)
    assert np.array_equal(results[0], results[1])
    if name != "ToCHWImage":
        assert all(result.shape == (*SIZES.get(name, (90, 120)), 3) for result in results)
    if name != "NormalizeImage":
        assert all(result.dtype == np.uint8 for result in results)
    is_random = any(not np.array_equal(results[0], result) for result in results[2:])
    deterministic = {
        "DecodeImage",
        "ResizeImage",
        "CropImage",
        "CropImageAtRatio",
        "NormalizeImage",
        "ToCHWImage",
        "Pad",
        "Padv2",
        "ResizeKeepRatio",
    }
    assert is_random == (name not in deterministic)


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


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ResizeImage", {}, "needs `size` or `resize_short`"),
        ("ResizeImage", {"size": 8, "interpolation": "area", "backend": "pil"}, "pil has no"),
        ("ResizeImage", {"size": 8, "backend": "torch"}, "unknown backend 'torch'"),
        ("GridMask", {"d1": 9, "d2": 9}, "d2 must be larger"),
        ("Pad", {"padding": [1, 2, 3]}, "1, 2 or 4 numbers"),
        ("Padv2", {"pad_mode": -1}, "needs `offsets`"),
        ("ResizeImag", {"size": 8}, "did you mean 'ResizeImage'"),
    ],
)
def test_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        TRANSFORMS.build({"name": name, **arguments})


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


def test_recipe_on_real_photos(photos):
    pipeline = build_transforms(RECIPE)
    for index, data in enumerate(photos):
        image = pipeline(data, generator(index))
        assert image.shape == (3, 48, 48)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert np.abs(image).max() < 6


def test_without_a_generator_the_result_never_varies(photos):
    pipeline = build_transforms(RECIPE)
    assert np.array_equal(pipeline(photos[0]), pipeline(photos[0]))


def test_log_aspect_is_symmetric():
    """Wide and tall parts are equally likely."""
    crop = RandCropImage(8, scale=(0.1, 0.2), ratio=(0.25, 4.0), use_log_aspect=True)
    rng = generator(0)
    boxes = [crop.draw_box(1000, 1000, rng) for _ in range(2000)]
    logs = [math.log(width / height) for _, _, width, height in boxes]
    assert abs(np.mean(logs)) < 0.06


def test_build_transforms_checks_and_lists_every_fault():
    specs = [
        "DecodeImage",
        {"ResizeImage": {"resize_shrt": 256, "interpolation": "bicubi"}},
        {"CenterCrop": {"size": 224}},
        {"NormalizeImage": {"scale": "1/0"}},
    ]
    with pytest.raises(ConfigError) as caught:
        build_transforms(specs)
    faults = str(caught.value).splitlines()
    assert [fault.split(": ")[0] for fault in faults] == [
        "transform_ops.1.ResizeImage.resize_shrt",
        "transform_ops.1.ResizeImage.interpolation",
        "transform_ops.2",
        "transform_ops.3.NormalizeImage.scale",
    ]
    assert "did you mean 'resize_short'" in faults[0]


def test_build_transforms_reads_numbers_written_as_text():
    specs = {"scale": "1.0/255.0", "mean": ["0.5", 0.5, "5e-1"], "order": ""}
    as_numbers = {"scale": 1 / 255, "mean": [0.5, 0.5, 0.5], "order": ""}
    results = [build_transforms([{"NormalizeImage": s}])(PICTURE) for s in (specs, as_numbers)]
    assert np.array_equal(*results)


def test_importing_the_transforms_does_not_import_paddle():
    code = "import sys, ppcls.data.transform, ppcls.data.dataset; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_random_horizontal_flip_mirrors_left_and_right():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    always, never = build("RandomHorizontalFlip", prob=1.0), build("RandomHorizontalFlip", prob=0.0)
    rng = np.random.default_rng(0)
    assert np.array_equal(always(image, rng), image[:, ::-1])
    assert np.array_equal(never(image, rng), image)
