"""`tools/prepare_dataset.py digits` and `idx`: data sets that come as arrays."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from preparing import lines

from ppcls.commands import main
from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.registry import DATASETS


def test_digits(tmp_path, capsys):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    assert main("prepare-dataset", ["digits", "--output", str(tmp_path)]) == 0
    assert "1437 training and 360 validation images of 10 classes" in capsys.readouterr().out
    train, val = lines(tmp_path / "train_list.txt"), lines(tmp_path / "val_list.txt")
    assert (len(train), len(val)) == (1437, 360)
    assert len({*train, *val}) == 1797
    counts = np.bincount([int(line.split()[1]) for line in val])
    assert counts.min() >= 34
    assert counts.max() <= 37
    assert lines(tmp_path / "label_list.txt") == [f"{label} {label}" for label in range(10)]
    name, label = val[0].split()
    index = int(name.split("/")[-1].split(".")[0])
    pixels = np.asarray(Image.open(tmp_path / name))
    assert pixels.shape == (32, 32)
    assert digits.target[index] == int(label)
    assert np.array_equal(np.rint(pixels[::4, ::4] / 255 * 16), digits.images[index])
    for split in ("train", "val"):
        dataset = ImageNetDataset(str(tmp_path), str(tmp_path / f"{split}_list.txt"))
        assert dataset.problems(class_num=10) == []
    # Again is no overwriting.
    assert main("prepare-dataset", ["digits", "--output", str(tmp_path)]) == 0
    # The split never changes; somebody's published figure may depend on it.
    assert val[:3] == ["images/3/0003.png 3", "images/7/0007.png 7", "images/3/0013.png 3"]


def test_digits_do_not_overwrite_other_lists(tmp_path, capsys):
    pytest.importorskip("sklearn.datasets")
    (tmp_path / "val_list.txt").write_text("precious")
    command = ["digits", "--output", str(tmp_path)]
    assert main("prepare-dataset", command) == 1
    assert "val_list.txt already; pass --force" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "val_list.txt"]


def write_idx(path, array: np.ndarray):
    header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist(tmp_path) -> Path:
    """A folder like that of MNIST, with twelve images to train on and six to test."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.RandomState(0)
    for stem, count, suffix in (("train", 12, ".gz"), ("t10k", 6, "")):
        images = rng.randint(0, 256, (count, 5, 4))
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", np.arange(count) % 3)
    return folder


def test_idx_as_it_is(mnist, capsys):
    assert main("prepare-dataset", ["idx", str(mnist)]) == 0
    output = capsys.readouterr().out
    assert "Found 12 training and 6 validation images of 3 classes" in output
    printed = yaml.safe_load(output.split("into your YAML:")[1])
    assert printed["Arch"] == {"class_num": 3}
    dataset = DATASETS.build(printed["DataLoader"]["Eval"]["dataset"], seed=0)
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(list(mnist.iterdir())) == 4


def test_idx_to_images(mnist, tmp_path, capsys):
    (mnist / "label_list.txt").write_text("0 zero\n1 one/1\n2 two\n")
    output = tmp_path / "png"
    command = ["idx", str(mnist), "--output", str(output)]
    assert main("prepare-dataset", command) == 0
    train, val = lines(output / "train_list.txt"), lines(output / "val_list.txt")
    assert (len(train), len(val)) == (12, 6)
    assert lines(output / "label_list.txt") == ["0 zero", "1 one/1", "2 two"]
    dataset = DATASETS.build(
        {
            "name": "IdxDataset",
            "images": str(mnist / "t10k-images-idx3-ubyte"),
            "labels": str(mnist / "t10k-labels-idx1-ubyte"),
        },
        seed=0,
    )
    name, label = val[4].split()
    assert int(label) == 1
    assert np.array_equal(np.asarray(Image.open(output / name)), dataset.images[4])
    assert main("prepare-dataset", command) == 1
    assert "--force" in capsys.readouterr().err
    assert main("prepare-dataset", [*command, "--force", "--val-fraction", "0.25"]) == 0
    parts = [len(lines(output / f"{part}_list.txt")) for part in ("train", "val", "test")]
    assert parts == [9, 3, 6]


def test_idx_faults(mnist, capsys):
    (mnist / "letters-train-images-idx3-ubyte").write_bytes(b"")
    assert main("prepare-dataset", ["idx", str(mnist)]) == 1
    assert "say with --prefix" in capsys.readouterr().err
    assert main("prepare-dataset", ["idx", str(mnist), "--prefix", "letters"]) == 1
    assert "letters-train-images-idx3-ubyte: not an IDX file" in capsys.readouterr().err
    (mnist / "t10k-labels-idx1-ubyte").unlink()
    assert main("prepare-dataset", ["idx", str(mnist), "--prefix", "t"]) == 1
    assert "t10k-labels-idx1-ubyte: cannot be read" in capsys.readouterr().err
