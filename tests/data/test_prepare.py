"""`tools/prepare_dataset.py`."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from pictures import encode, make_picture
from PIL import Image

from ppcls.commands import main
from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.data.prepare import prepare_folder, stratified_split
from ppcls.errors import DataError


def lines(path) -> "list[str]":
    return path.read_text().splitlines()


def make_folders(root, counts: "dict[str, int]"):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            picture = make_picture(20, 20, seed=index)
            (root / name / f"img {index}.png").write_bytes(encode(picture, "PNG"))


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
    # The split never changes; somebody's published figure may depend on it.
    assert val[:3] == ["images/3/0003.png 3", "images/7/0007.png 7", "images/3/0013.png 3"]


def test_folder(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 10, "dog": 5, "a bird": 2, ".hidden": 3})
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    assert main("prepare-dataset", ["folder", str(tmp_path)]) == 0
    assert "images of 3 classes" in capsys.readouterr().out
    assert lines(tmp_path / "label_list.txt") == ["0 a bird", "1 cat", "2 dog"]
    train, val = lines(tmp_path / "train_list.txt"), lines(tmp_path / "val_list.txt")
    assert len(train) + len(val) == 17
    assert sorted(line.rsplit(" ", 1)[1] for line in val) == ["0", "1", "1", "2"]
    for name in ("train_list.txt", "val_list.txt"):
        dataset = ImageNetDataset(str(tmp_path), str(tmp_path / name))
        assert dataset.problems(class_num=3) == []


def test_folder_with_a_split(tmp_path):
    make_folders(tmp_path / "train", {"cat": 3, "dog": 4})
    make_folders(tmp_path / "val", {"cat": 2, "dog": 1})
    lists = prepare_folder(tmp_path)
    assert (lists.train, lists.val, lists.classes) == (7, 3, 2)
    assert all(line.startswith("val/") for line in lines(tmp_path / "val_list.txt"))


def test_folder_does_not_overwrite_lists_unasked(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 3, "dog": 4})
    (tmp_path / "train_list.txt").write_text("precious")
    assert main("prepare-dataset", ["folder", str(tmp_path)]) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert (tmp_path / "train_list.txt").read_text() == "precious"
    assert main("prepare-dataset", ["folder", str(tmp_path), "--overwrite"]) == 0


def test_folder_faults(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        prepare_folder(tmp_path / "no")
    with pytest.raises(DataError, match="must hold a folder of images per class; it has 0"):
        prepare_folder(tmp_path)
    make_folders(tmp_path, {"cat": 3, "dog": 0})
    with pytest.raises(DataError, match="no images of the classes dog"):
        prepare_folder(tmp_path)


def test_stratified_split_is_proportional_and_keeps_small_classes():
    labels = np.repeat([0, 1, 2, 3], [50, 30, 2, 1])
    is_val = stratified_split(labels, 0.2)
    assert [int(is_val[labels == label].sum()) for label in range(4)] == [10, 6, 1, 0]
    assert np.array_equal(is_val, stratified_split(labels, 0.2))
    assert not np.array_equal(is_val, stratified_split(labels, 0.2, seed=1))


def test_help_is_fast(repo_root):
    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    command = [sys.executable, "tools/prepare_dataset.py", "--help"]
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    before = cpu_seconds()
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    assert cpu_seconds() - before < 0.5
