"""Deterministic operators give bit for bit what the PyPI package `paddleclas` gives."""

import numpy as np
import pytest

from ppcls.data.transform import build_transforms

preprocess = pytest.importorskip(
    "paddleclas.deploy.python.preprocess", reason="the package paddleclas is not installed"
)

DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
NORMALIZE = {
    "NormalizeImage": {
        "scale": "1.0/255.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "order": "",
    }
}
EVALUATION = [
    DECODE,
    {"ResizeImage": {"resize_short": 256}},
    {"CropImage": {"size": 224}},
    NORMALIZE,
    {"ToCHWImage": None},
]
RESIZES = [
    {"resize_short": 248, "interpolation": interpolation, "backend": "pil"}
    for interpolation in (None, "nearest", "bilinear", "bicubic", "box", "lanczos", "hamming")
    if interpolation
] + [
    {"resize_short": 232, "interpolation": interpolation, "backend": "cv2"}
    for interpolation in ("nearest", "bilinear", "bicubic", "area", "lanczos")
]
PIPELINES = {
    "evaluation": EVALUATION,
    "bgr": [{"DecodeImage": {"to_rgb": False}}],
    "channel first": [
        {"DecodeImage": {"channel_first": True}},
        {"NormalizeImage": {"scale": 0.00392157, "order": "chw", "mean": None, "std": None}},
    ],
    "size": [DECODE, {"ResizeImage": {"size": [200, 160], "interpolation": "area"}}],
    "square": [DECODE, {"ResizeImage": {"size": 224}}],
    "wide crop": [DECODE, {"CropImage": {"size": [301, 199]}}],
    "bgr, normalised": [{"DecodeImage": {"to_rgb": False}}, NORMALIZE],
    "twice": [DECODE, NORMALIZE, {"NormalizeImage": {"scale": 2.0, "order": "hwc"}}],
    "other numbers": [
        DECODE,
        {"NormalizeImage": {"scale": 1.0, "mean": [128.0] * 3, "std": [127.3] * 3, "order": "hwc"}},
        {"ToCHWImage": None},
    ],
    "float16": [
        DECODE,
        {"NormalizeImage": {"order": "hwc", "output_fp16": True, "channel_num": 4}},
        {"ToCHWImage": None},
    ],
    "four channels": [
        {"DecodeImage": {"channel_first": True}},
        {"NormalizeImage": {"channel_num": 4, "output_fp16": True}},
    ],
    **{
        f"{options['backend']} {options['interpolation']}": [DECODE, {"ResizeImage": options}]
        for options in RESIZES
    },
}


def theirs(specs, data: bytes) -> np.ndarray:
    image = data
    for operator in preprocess.create_operators([dict(spec) for spec in specs]):
        image = operator(image)
    return image


@pytest.mark.parametrize("specs", PIPELINES.values(), ids=PIPELINES)
def test_bit_identical_on_real_photos(specs, photos):
    pipeline = build_transforms(specs)
    for data in photos[:6]:
        expected = theirs(specs, data)
        ours = pipeline(data)
        assert ours.dtype == expected.dtype
        assert np.array_equal(ours, expected)


def test_evaluation_pipeline_on_many_photos(photos):
    pipeline = build_transforms(EVALUATION)
    for data in photos:
        assert np.array_equal(pipeline(data), theirs(EVALUATION, data))


def test_an_array_gives_what_its_file_gives(photos):
    pipeline = build_transforms(EVALUATION)
    decoded = build_transforms([DECODE])(photos[0])
    assert np.array_equal(pipeline(decoded), pipeline(photos[0]))
