"""Whatever stands in a list: training, evaluation and prediction decode it alike or name it."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from pictures import RECIPE, encode, make_picture
from PIL import Image

from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.errors import DataError
from ppcls.inference.predictor import PredictionPipeline

PICTURE = make_picture(70, 52)
EVALUATION = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": 256, "interpolation": "bicubic", "backend": "pil"}},
    {"CropImage": {"size": 224}},
    {"NormalizeImage": {"order": ""}},
    {"ToCHWImage": None},
]
FORMATS = ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(PICTURE, "JPEG", quality=95, exif=exif)


def animation(format: str) -> bytes:
    frames = [Image.fromarray(make_picture(70, 52, seed)) for seed in (1, 2)]
    return encode(PICTURE, format, save_all=True, append_images=frames)


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header promises another size than it has."""
    data = encode(PICTURE, "JPEG")
    old, new = (struct.pack(">HH", *size) for size in ((52, 70), (height, width)))
    assert data.count(old) == 1
    return data.replace(old, new)


GOOD = {
    **{format.lower(): encode(PICTURE, format) for format in FORMATS},
    "progressive": encode(PICTURE, "JPEG", progressive=True),
    "grey jpeg": encode(PICTURE[:, :, 0], "JPEG"),
    "cmyk jpeg": encode(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"),
    "cmyk tiff": encode(Image.fromarray(PICTURE).convert("CMYK"), "TIFF"),
    "16 bit png": encode(Image.fromarray(PICTURE[:, :, 0].astype(np.uint16) * 257), "PNG"),
    "palette png": encode(Image.fromarray(PICTURE).quantize(50), "PNG"),
    "black and white": encode(Image.fromarray(PICTURE).convert("1"), "PNG"),
    "alpha png": encode(Image.fromarray(PICTURE).convert("RGBA"), "PNG"),
    "grey and alpha": encode(Image.fromarray(PICTURE).convert("LA"), "PNG"),
    "animated gif": animation("GIF"),
    "animated webp": animation("WEBP"),
    "animated png": animation("PNG"),
    "tiff of pages": animation("TIFF"),
    **{f"orientation {number}": turned(number) for number in range(1, 9)},
    "1x1": encode(PICTURE[:1, :1], "PNG"),
    "2x900": encode(make_picture(2, 900), "PNG"),
    "900x2": encode(make_picture(900, 2), "PNG"),
}
BAD = {
    "zero bytes": b"",
    "text": b"not an image" * 100,
    **{f"half a {format}": encode(PICTURE, format)[:-900] for format in FORMATS},
    "1x10000": encode(np.zeros((10_000, 1, 3), np.uint8), "PNG"),
    "10000x1": encode(np.zeros((1, 10_000, 3), np.uint8), "PNG"),
    "large png": png(100_000, 100_000),
    "large jpeg": jpeg_of_size(65_500, 65_500),
    "jpeg without size": jpeg_of_size(0, 0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file under the name of another format, and lists of them."""
    folder = tmp_path_factory.mktemp("odd files")
    for number, (name, data) in enumerate({**GOOD, **BAD}.items()):
        (folder / name).with_suffix((".jpg", ".png", ".txt")[number % 3]).write_bytes(data)
    return folder


def dataset(folder, name: str, transform_ops, **options) -> ImageNetDataset:
    (file,) = folder.glob(f"{name}.*")
    listing = folder / f"{name}.list"
    listing.write_text(f"{file.name}\t0\n")
    try:
        return ImageNetDataset(str(folder), str(listing), transform_ops, delimiter="\t", **options)
    finally:
        listing.unlink()


def prediction() -> PredictionPipeline:
    return PredictionPipeline(
        lambda images: np.full((len(images), 3), images.mean()),
        EVALUATION,
        {"name": "Topk", "topk": 1},
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", GOOD)
def test_decoded_alike(folder, name):
    evaluation = dataset(folder, name, EVALUATION)
    image = evaluation[0].image
    assert (image.shape, image.dtype) == ((3, 224, 224), np.float32)
    assert np.array_equal(prediction().preprocess(evaluation.path(0)), image)
    (result,) = prediction().predict(evaluation.path(0))
    assert "error" not in result
    trained = dataset(folder, name, RECIPE)[0].image
    assert (trained.shape, trained.dtype) == ((3, 48, 48), np.float32)
    assert np.isfinite(trained).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright(folder, orientation):
    """Photos of a scene whose file says how the camera was held."""
    names = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    names |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    upright = Image.open(io.BytesIO(turned(1)))
    if orientation > 1:
        upright = upright.transpose(Image.Transpose[names[orientation]])
    decoded = dataset(folder, f"orientation {orientation}", EVALUATION[:1])[0].image
    assert decoded.shape[1:] == upright.size[::-1]
    assert np.abs(decoded.transpose(1, 2, 0).astype(int) - np.asarray(upright)).max() <= 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_refused_alike_with_the_file_named(folder, name):
    evaluation = dataset(folder, name, EVALUATION)
    with pytest.raises(DataError) as caught:
        evaluation[0]
    reason = str(caught.value)
    assert reason.startswith(f"{evaluation.path(0)}: ")
    assert "\n" not in reason
    (result,) = prediction().predict(evaluation.path(0))
    assert reason == f"{result['file_name']}: {result['error']}"
    if "10000" not in name:  # Only evaluation enlarges the whole image.
        with pytest.raises(DataError) as caught:
            dataset(folder, name, RECIPE)[0]
        assert str(caught.value) == reason


def listed(folder, name: bytes) -> ImageNetDataset:
    (folder / "list.txt").write_bytes(name + b" 0\n")
    return ImageNetDataset(str(folder), str(folder / "list.txt"), EVALUATION)


@pytest.mark.parametrize(
    "name", ["衣服 照片.jpg".encode(), "é".encode(), b"latin \xe9\xff.jpg", b"a\xcc\x8a .jpg"]
)
def test_names_of_any_bytes(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    try:
        with open(path, "wb") as file:
            file.write(GOOD["jpeg"])
    except OSError:
        pytest.skip("the file system refuses the name")
    image = listed(tmp_path, name)[0].image
    assert np.array_equal(prediction().preprocess(os.fsdecode(path)), image)


def assert_refused(folder, name: str, reason: str) -> None:
    data = listed(folder, name.encode())
    with pytest.raises(DataError, match=reason) as caught:
        data[0]
    assert str(caught.value).startswith(data.path(0))
    with pytest.raises(DataError, match=reason) as caught:
        prediction().preprocess(data.path(0))
    assert str(folder / name) in str(caught.value)


def test_folders_links_and_missing_files(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert_refused(tmp_path, "folder.jpg", "Is a directory")
    assert_refused(tmp_path, "dangling.jpg", "No such file")
    assert_refused(tmp_path, "missing.jpg", "No such file")
    assert_refused(tmp_path, "loop.jpg", "symbolic links")
    (tmp_path / "real.jpg").write_bytes(GOOD["jpeg"])
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    assert listed(tmp_path, b"link.jpg")[0].image.shape == (3, 224, 224)


def test_unreadable_files(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(GOOD["jpeg"])
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert_refused(tmp_path, "secret.jpg", "Permission denied")


def test_bombs_need_neither_memory_nor_time(tmp_path, repo_root):
    """Small files that promise, or unpack to, gigabytes, each in turn in one process."""
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(200_000_000)))
    gif = bytearray(encode(Image.fromarray(PICTURE).quantize(8), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    tall = Image.fromarray(np.zeros((20_000, 1), np.uint8))
    bombs = {
        "png": png(100_000, 100_000),
        "text": png(70, 52, text),
        "jpeg": jpeg_of_size(65_500, 65_500),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "ppm": b"P6 60000 60000 255\n" + bytes(1000),
        "narrow": encode(tall, "PNG"),
    }
    for name, data in bombs.items():
        assert len(data) < 400_000
        (tmp_path / name).write_bytes(data)
    program = textwrap.dedent(
        f"""
        import resource, sys, time, warnings
        warnings.simplefilter("ignore")
        from pathlib import Path
        from ppcls.data.transform import build_transforms
        from ppcls.errors import DataError

        pipeline = build_transforms({EVALUATION!r})
        pipeline(Path(sys.argv[1]).read_bytes())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        for path in sys.argv[2:]:
            try:
                pipeline(Path(path).read_bytes())
            except DataError:
                continue
            print("decoded", path)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(round(grown), round(time.process_time() - start, 2))
        """
    )
    good = tmp_path / "good"
    good.write_bytes(GOOD["jpeg"])
    done = subprocess.run(
        [sys.executable, "-c", program, good, *(tmp_path / name for name in bombs)],
        cwd=repo_root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *decoded, numbers = done.stdout.splitlines()
    megabytes, seconds = map(float, numbers.split())
    assert megabytes < 150, done.stdout
    assert seconds < 5
    # The text of a comment may be ignored or be a fault; the others must be refused.
    assert all("text" in line for line in decoded)
