"""`tools/prepare_dataset.py folder`, and what holds for every source."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from preparing import lines, prepare, write_picture

from ppcls.config import check_config, load_yaml
from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.data.prepare import ListOptions, prepare_folder
from ppcls.errors import DataError


def make_folders(root, counts: "dict[str, int]", seed: int = 0):
    """Folders of pictures that all differ."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            seed += 1
            write_picture(root / name / f"img {index}.png", seed)


def test_folder(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 10, "dog": 5, "a bird": 2, ".hidden": 3})
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "._img 1.png").write_text("what macOS leaves behind")
    write_picture(tmp_path / "loose.png", seed=99)
    assert prepare("folder", tmp_path) == 0
    output = capsys.readouterr().out
    assert "images of 3 classes" in output
    assert ".txt (1)" in output
    assert "Every image can be read; none is left out." in output
    assert ".png in no class folder (1)" in output
    assert lines(tmp_path / "label_list.txt") == ["0 a bird", "1 cat", "2 dog"]
    train, val = lines(tmp_path / "train_list.txt"), lines(tmp_path / "val_list.txt")
    assert len(train) + len(val) == 17
    assert sorted(line.rsplit("\t", 1)[1] for line in val) == ["0", "1", "1", "2"]
    for name in ("train_list.txt", "val_list.txt"):
        dataset = ImageNetDataset(str(tmp_path), str(tmp_path / name))
        assert dataset.problems(class_num=3) == []
    assert not (tmp_path / "test_list.txt").exists()
    assert not (tmp_path / "left_out.txt").exists()


def test_folder_prints_yaml_that_reads_the_lists(tmp_path, repo_root, capsys):
    root = tmp_path / "my photos: größer"
    make_folders(root, {"猫": 4, "dog #1": 4})
    assert prepare("folder", root, "--test-fraction", "0.25", "--val-fraction", "0.25") == 0
    printed = yaml.safe_load(capsys.readouterr().out.split("into your YAML:")[1])
    config = load_yaml(repo_root / "configs" / "DSNet" / "DSNet_tiny.yaml")
    config["Arch"].update(printed["Arch"])
    for split in ("Train", "Eval"):
        config["DataLoader"][split]["dataset"].update(printed["DataLoader"][split]["dataset"])
    checked, faults = check_config(config)
    assert faults == []
    assert checked["Arch"]["class_num"] == 2
    for split, count in (("Train", 4), ("Eval", 2)):
        section = dict(checked["DataLoader"][split]["dataset"])
        dataset = ImageNetDataset(**{k: section[k] for k in section if k != "name"})
        assert dataset.problems(class_num=2) == []
        assert len(dataset) == count
    label_map = Path(printed["Infer"]["PostProcess"]["class_id_map_file"])
    assert label_map.read_text(encoding="utf-8") == "0 dog #1\n1 猫\n"


def test_folder_finds_images_at_any_depth(tmp_path):
    write_picture(tmp_path / "cat" / "2024" / "may" / "one.PNG", 1)
    write_picture(tmp_path / "cat" / "two.png", 2)
    write_picture(tmp_path / "dog" / "a" / "b" / "c.png", 3)
    write_picture(tmp_path / "dog" / "d.png", 4)
    prepare_folder(tmp_path, ListOptions(val_fraction=0.0))
    assert lines(tmp_path / "train_list.txt") == [
        "cat/2024/may/one.PNG 0",
        "cat/two.png 0",
        "dog/a/b/c.png 1",
        "dog/d.png 1",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_folder_with_names_that_are_not_utf8(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 2, "dog": 2})
    os.rename(tmp_path / "cat" / "img 0.png", os.fsencode(tmp_path) + b"/cat/caf\xe9.png")
    os.rename(tmp_path / "dog" / "img 0.png", tmp_path / "dog" / "line\nbreak.png")
    assert prepare("folder", tmp_path, "--val-fraction", "0") == 0
    listed = (tmp_path / "train_list.txt").read_bytes().split(b"\n")
    assert listed[:2] == [b"cat/caf\xe9.png\t0", b"cat/img 1.png\t0"]
    assert r"'dog/line\nbreak.png': a list cannot hold" in capsys.readouterr().out
    dataset = ImageNetDataset(str(tmp_path), str(tmp_path / "train_list.txt"))
    assert dataset.problems(class_num=2) == []


def test_folder_leaves_out_what_cannot_be_used(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 4, "dog": 4})
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    (tmp_path / "cat" / "empty.png").write_bytes(b"")
    write_picture(tmp_path / "cat" / "copy.png", seed=1)  # of cat/img 0.png
    write_picture(tmp_path / "dog" / "both.png", seed=2)  # of cat/img 1.png
    assert prepare("folder", tmp_path) == 0
    output = capsys.readouterr().out
    assert "Images left out: 5" in output
    left_out = dict(line.split("\t") for line in lines(tmp_path / "left_out.txt"))
    assert left_out["cat/broken.jpg"] == "the JPEG file is truncated; copy or download it again"
    assert left_out["cat/empty.png"] == "the file is empty"
    assert left_out["cat/img 0.png"] == "identical to cat/copy.png"
    assert left_out["cat/img 1.png"] == "identical to dog/both.png, which has another label"
    assert left_out["dog/both.png"] == "identical to cat/img 1.png, which has another label"
    listed = lines(tmp_path / "train_list.txt") + lines(tmp_path / "val_list.txt")
    assert sorted(line.split("\t")[0] for line in listed) == [
        "cat/copy.png",
        "cat/img 2.png",
        "cat/img 3.png",
        *(f"dog/img {index}.png" for index in range(4)),
    ]
    assert prepare("folder", tmp_path, "--force", "--keep-duplicates") == 0
    assert "Images left out: 2" in capsys.readouterr().out
    assert prepare("folder", tmp_path, "--force", "--no-check") == 0
    assert not (tmp_path / "left_out.txt").exists()


def test_folder_with_a_split(tmp_path):
    make_folders(tmp_path / "train", {"cat": 3, "dog": 4})
    make_folders(tmp_path / "val", {"cat": 2, "dog": 1}, seed=50)
    write_picture(tmp_path / "val" / "dog" / "leaked.png", seed=1)  # of train/cat/img 0.png
    write_picture(tmp_path / "val" / "cat" / "known.png", seed=2)  # of train/cat/img 1.png
    lists = prepare_folder(tmp_path)
    assert (lists.train, lists.val, len(lists.classes)) == (5, 4, 2)
    assert all(line.startswith("val/") for line in lines(tmp_path / "val_list.txt"))
    left_out = dict(line.split("\t") for line in lines(tmp_path / "left_out.txt"))
    assert left_out == {
        "train/cat/img 0.png": "identical to val/dog/leaked.png, which has another label",
        "val/dog/leaked.png": "identical to train/cat/img 0.png, which has another label",
        "train/cat/img 1.png": "identical to val/cat/known.png of the val part",
    }


def test_folder_with_train_and_test_takes_validation_from_train(tmp_path):
    make_folders(tmp_path / "Train", {"cat": 10, "dog": 10})
    make_folders(tmp_path / "test", {"cat": 2, "dog": 1}, seed=50)
    prepared = prepare_folder(tmp_path)
    assert prepared.totals == {"train": 16, "val": 4, "test": 3}
    assert all(line.startswith("test/") for line in lines(tmp_path / "test_list.txt"))
    assert all(line.startswith("Train/") for line in lines(tmp_path / "val_list.txt"))


def test_folder_does_not_overwrite_lists_unasked(tmp_path, tmp_path_factory, capsys):
    make_folders(tmp_path, {"cat": 3, "dog": 4})
    (tmp_path / "train_list.txt").write_text("precious")
    assert prepare("folder", tmp_path) == 1
    assert "pass --force" in capsys.readouterr().err
    assert (tmp_path / "train_list.txt").read_text() == "precious"
    assert prepare("folder", tmp_path, "--output", tmp_path / "lists") == 1
    assert "where folders are classes" in capsys.readouterr().err
    assert prepare("folder", tmp_path, "--output", tmp_path_factory.mktemp("lists")) == 0
    assert (tmp_path / "train_list.txt").read_text() == "precious"
    assert prepare("folder", tmp_path, "--force", "--test-fraction", "0.2") == 0
    assert len(lines(tmp_path / "test_list.txt")) == 2
    # A list of an earlier run that this one does not have would be wrong.
    assert prepare("folder", tmp_path, "--force") == 0
    assert not (tmp_path / "test_list.txt").exists()


def test_folder_faults(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        prepare_folder(tmp_path / "no")
    with pytest.raises(DataError, match="must hold a folder of images per class; it has 0"):
        prepare_folder(tmp_path)
    make_folders(tmp_path / "photos", {"cat": 3, "dog": 0})
    with pytest.raises(DataError, match=r"it has 1; did you mean .*photos\?"):
        prepare_folder(tmp_path)
    with pytest.raises(DataError, match="no images to train on of the classes dog"):
        prepare_folder(tmp_path / "photos")
    (tmp_path / "photos" / "dog" / "a.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"1 images were left out.*\n.*dog/a.jpg: the file is not"):
        prepare_folder(tmp_path / "photos")


def test_folder_with_an_unclear_split(tmp_path):
    make_folders(tmp_path / "train", {"cat": 2, "dog": 2})
    make_folders(tmp_path / "val", {"cat": 2, "cow": 2}, seed=50)
    with pytest.raises(DataError, match="val has classes that the training folder has not: cow"):
        prepare_folder(tmp_path)
    (tmp_path / "extra").mkdir()
    with pytest.raises(DataError, match="holds train, val and also extra"):
        prepare_folder(tmp_path)


def test_fractions_must_leave_something(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 3, "dog": 4})
    assert prepare("folder", tmp_path, "--val-fraction", "0.5", "--test-fraction", "0.5") == 1
    assert "leave nothing to train on" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        prepare("folder", tmp_path, "--val-fraction", "20%")


def test_help_is_fast(repo_root):
    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    command = [sys.executable, "tools/prepare_dataset.py", "--help"]
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    before = cpu_seconds()
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    assert cpu_seconds() - before < 0.5
