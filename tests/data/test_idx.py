"""MNIST's files."""

import gzip
import struct
import tarfile

import numpy as np
import pytest

from ppcls.data.dataset.idx import IdxDataset, read_idx
from ppcls.errors import DataError

NORMALIZE = [
    {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.0] * 3, "std": [1.0] * 3, "order": ""}}
]


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 20))
    (tmp_path / "images").write_bytes(idx_bytes(images))
    (tmp_path / "labels").write_bytes(idx_bytes(np.array([3, 0, 1, 2, 3])))
    return tmp_path


def make(files, **options) -> IdxDataset:
    return IdxDataset(str(files / "images"), str(files / "labels"), **options)


def test_grey_becomes_rgb(files):
    dataset = make(files, transform_ops=NORMALIZE)
    assert dataset.problems(class_num=4) == []
    assert len(dataset) == 5
    pixels = dataset.read(2)
    assert pixels.shape == (28, 20, 3)
    assert pixels.dtype == np.uint8
    raw = np.random.default_rng(0).integers(0, 256, (5, 28, 20))
    assert np.array_equal(pixels[:, :, 0], raw[2])
    assert np.array_equal(pixels[:, :, 2], raw[2])
    sample = dataset[2]
    assert sample.image.shape == (3, 28, 20)
    assert sample.image[1] == pytest.approx(raw[2] / 255)
    assert sample.label == 1


def test_colour_images(files):
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 9, 3))
    (files / "images").write_bytes(idx_bytes(images))
    assert np.array_equal(make(files).read(4), images[4])


def test_gzip(files):
    plain = make(files)[0].image
    for name in ("images", "labels"):
        (files / name).write_bytes(gzip.compress((files / name).read_bytes()))
    assert np.array_equal(make(files)[0].image, plain)


def test_max_samples(files):
    dataset = make(files, max_samples=2)
    assert len(dataset) == 2
    assert dataset.labels.tolist() == [3, 0]
    assert len(make(files, max_samples=100)) == 5


def test_labels_out_of_range_are_named(files):
    assert make(files).problems(class_num=3) == [
        f"{files}/labels[0]: label 3 is outside 0..2 (Arch.class_num is 3)",
        f"{files}/labels[4]: label 3 is outside 0..2 (Arch.class_num is 3)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "the file is truncated: 5x28x20 values need 2816 bytes, it has 2815"),
        (lambda b: b + b"x", "the file is too long"),
        (lambda b: b[:9], "the file is truncated within its header"),
        (lambda b: b"", "not an IDX file of bytes: .* begins with nothing"),
        (lambda b: b"\x89PNG" + b, "not an IDX file of bytes: .* begins with 89 50 4e"),
        (lambda b: b[:2] + b"\x0d" + b[3:], "not an IDX file of bytes: .* begins with 00 00 0d"),
        (lambda b: gzip.compress(b)[:-9], "the gzip file is broken"),
        (lambda b: gzip.compress(b)[:40] + b"\0" * 40, "the gzip file is broken"),
        (lambda b: idx_bytes(np.zeros((5, 28))), r"expected images .* shape \(5, 28\)"),
        (lambda b: idx_bytes(np.zeros((4, 28, 20))), "has 4 images, but .*labels has 5 labels"),
    ],
)
def test_broken_files_are_named(files, change, message):
    (files / "images").write_bytes(change((files / "images").read_bytes()))
    problems = make(files).problems(class_num=4)
    assert len(problems) == 1
    with pytest.raises(DataError, match=f"^{files}/images.*{message}"):
        raise DataError(problems[0])


def test_missing_and_empty_files(files):
    (files / "labels").unlink()
    assert make(files).problems(class_num=4) == [
        f"{files}/labels: cannot be read: No such file or directory"
    ]
    (files / "labels").write_bytes(idx_bytes(np.zeros(0)))
    (files / "images").write_bytes(idx_bytes(np.zeros((0, 28, 28))))
    assert make(files).problems(class_num=4) == [f"{files}/images: the file holds no images"]


def test_fashion_mnist(shared_dir, tmp_path):
    with tarfile.open(shared_dir / "data" / "fashion_mnist.tar") as archive:
        members = [m for m in archive.getmembers() if "t10k" in m.name and m.isfile()]
        if len(members) < 2:
            pytest.skip("the archive does not hold the test files of Fashion-MNIST")
        for member in members:
            kind = "images" if "images" in member.name else "labels"
            (tmp_path / kind).write_bytes(archive.extractfile(member).read())
    dataset = make(tmp_path)
    assert dataset.problems(class_num=10) == []
    assert len(dataset) == 10_000
    assert np.bincount(dataset.labels).tolist() == [1000] * 10
    assert dataset[0].label == 9
    assert read_idx(str(tmp_path / "images")).shape == (10_000, 28, 28)
