"""The native library resizes as Pillow does, and fused steps give what their operators give."""

import platform
import shutil

import numpy as np
import pytest
from pictures import RECIPE, encode, make_picture
from PIL import Image

from ppcls.data.transform import build_transforms, native
from ppcls.data.transform.fusion import FusedResize
from ppcls.data.transform.resample import Part, native_is_used, resize_as_pillow, resize_part
from ppcls.errors import DataError, UserError

METHODS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]
NORMALIZE = {"NormalizeImage": {"mean": [0.1, 0.5, 0.7], "std": [0.2, 0.3, 0.4], "order": ""}}
EVALUATION = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": 64, "interpolation": "bicubic", "backend": "pil"}},
    {"CropImage": {"size": [56, 48]}},
    NORMALIZE,
    "ToCHWImage",
]


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory):
    """Compiles the library into a cache of its own."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CXX", raising=False)
        patch.setenv("LOGOCLAS_HOME", str(tmp_path_factory.mktemp("home")))
        native.load.cache_clear()
        native_is_used.cache_clear()
        assert not native_is_used()
        native_is_used.cache_clear()
        yield native.build()
    native.load.cache_clear()
    native_is_used.cache_clear()


def by_pillow(image, size, method) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, method))


def noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Black and white, so that overshoots are clipped and every rounding counts."""
    return rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)


def test_it_is_used():
    assert native_is_used()


@pytest.mark.parametrize("method", METHODS)
def test_bit_identical_to_pillow_at_any_size(method):
    rng = np.random.default_rng(0)
    for _ in range(150):
        width, height, new_width, new_height = rng.integers(1, 260, 4).tolist()
        image = noise(rng, width, height)
        result = resize_as_pillow(image, (new_width, new_height), method)
        assert np.array_equal(result, by_pillow(image, (new_width, new_height), method))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for x86-64")
@pytest.mark.parametrize("processor", ["x86-64", "haswell"])
def test_other_processors_give_the_same_bits(processor, tmp_path, monkeypatch):
    changed = {"-march=native": f"-march={processor}", "-O3": "-O1"}
    flags = [changed.get(flag, flag) for flag in native._FLAGS]
    monkeypatch.setattr(native, "_FLAGS", flags)
    monkeypatch.setenv("LOGOCLAS_HOME", str(tmp_path))
    native.build()
    try:
        rng = np.random.default_rng(3)
        for new in ((97, 83), (18, 200), (1, 1)):
            for old in ((150, 140), (40, 300), (3, 7)):
                image, method = noise(rng, *old), METHODS[new[0] % 2]
                whole = Part(0, 0, *new)
                assert np.array_equal(
                    resize_part(image, new, method, whole), by_pillow(image, new, method)
                )
    finally:
        native.load.cache_clear()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("old", "new"),
    [((3, 900), (2, 40)), ((900, 3), (40, 2)), ((2, 2), (300, 300)), ((1, 1), (9, 9))],
)
def test_bit_identical_to_pillow_at_extremes(old, new, method):
    image = noise(np.random.default_rng(1), *old)
    assert np.array_equal(resize_as_pillow(image, new, method), by_pillow(image, new, method))


@pytest.mark.parametrize("method", METHODS)
def test_parts_and_views(method):
    rng = np.random.default_rng(2)
    for _ in range(60):
        width, height, new_width, new_height = rng.integers(8, 200, 4).tolist()
        view = noise(rng, width + 7, height + 5)[3 : 3 + height, 2 : 2 + width]
        whole = by_pillow(np.ascontiguousarray(view), (new_width, new_height), method)
        left, top = rng.integers(new_width), rng.integers(new_height)
        part = Part(
            int(left),
            int(top),
            int(rng.integers(1, new_width - left + 1)),
            int(rng.integers(1, new_height - top + 1)),
        )
        result = resize_part(view, (new_width, new_height), method, part, swap=True)
        expected = whole[part.top : part.top + part.height, part.left : part.left + part.width]
        assert np.array_equal(result, expected[:, :, ::-1])


def one_by_one(pipeline, image, rng=None) -> np.ndarray:
    for operator in pipeline.operators:
        image = operator(image, rng)
    return image


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(70, 90), (300, 80), (81, 333), (64, 64)])
def test_evaluation_is_one_step_with_the_same_bits(count, size):
    pipeline = build_transforms(EVALUATION[:count])
    fused = [step for step in pipeline.steps if isinstance(step, FusedResize)]
    assert len(fused) == 1
    assert len(pipeline.steps) == (2 if count == 4 else 1)
    data = encode(make_picture(*size), "JPEG")
    for image in (data, encode(make_picture(*size), "GIF"), make_picture(*size)):
        result = pipeline(image)
        expected = one_by_one(pipeline, image)
        assert result.dtype == expected.dtype
        assert np.array_equal(result, expected)


def test_evaluation_of_photos(photos):
    specs = [
        EVALUATION[0],
        {"ResizeImage": {"resize_short": 248, "interpolation": "bicubic", "backend": "pil"}},
        {"CropImage": {"size": 224}},
        *EVALUATION[3:],
    ]
    pipeline = build_transforms(specs)
    for data in photos[:12]:
        assert np.array_equal(pipeline(data), one_by_one(pipeline, data))


def test_training_draws_and_gives_the_same():
    pipeline = build_transforms(RECIPE)
    assert isinstance(pipeline.steps[0], FusedResize)
    data = encode(make_picture(120, 90), "JPEG")
    for seed in range(30):
        rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
        assert np.array_equal(pipeline(data, rng), one_by_one(pipeline, data, other))
        assert rng.random() == other.random()


def test_errors_are_those_of_the_operators():
    pipeline = build_transforms([EVALUATION[0], EVALUATION[1], {"CropImage": {"size": 65}}])
    with pytest.raises(DataError, match="CropImage cuts out 65x65 pixels, but the image has 64x64"):
        pipeline(make_picture(30, 30))
    with pytest.raises(DataError, match="the file is empty"):
        pipeline(b"")


@pytest.mark.parametrize(
    "specs",
    [
        [{"ResizeImage": {"size": 20}}, {"CropImage": {"size": 10}}],
        [{"ResizeImage": {"size": 20, "backend": "pil", "interpolation": "lanczos"}}],
        [{"DecodeImage": {"to_rgb": False}}],
        [{"RandCropImage": {"size": 20, "backend": "pil"}}, {"NormalizeImage": {}}],
    ],
)
def test_what_is_not_fused(specs):
    pipeline = build_transforms(specs)
    assert pipeline.steps == pipeline.operators


def test_grey_arrays_take_the_operators():
    pipeline = build_transforms(EVALUATION[1:3])
    grey = make_picture(80, 70)[:, :, 0]
    assert np.array_equal(pipeline(grey), one_by_one(pipeline, grey))


def test_a_missing_compiler_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGOCLAS_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="the compiler 'no-such-compiler' cannot be run"):
        native.build()
