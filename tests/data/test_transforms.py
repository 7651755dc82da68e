"""What all operators promise, and the pipelines that `build_transforms` makes of them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from operators import build, generator
from pictures import RECIPE, make_picture

from ppcls.data.transform import build_transforms
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS

PICTURE = make_picture(120, 90)
#: Arguments without which an operator cannot be made, or leaves most images alone.
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


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_every_operator_is_a_function_of_image_and_generator(name):
    """Same image and generator, same result; the image given is never changed."""
    operator = pickle.loads(pickle.dumps(build(name, **NEEDS.get(name, {}))))
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
