"""`tools/prepare_dataset.py`."""

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pictures import encode, make_picture
from PIL import Image

from ppcls.commands import main
from ppcls.config import check_config, load_yaml
from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.data.prepare import ListOptions, prepare_folder, stratified_split
from ppcls.data.prepare.splitting import split_free, split_multi_label
from ppcls.errors import DataError
from ppcls.registry import DATASETS


def lines(path) -> "list[str]":
    return path.read_text().splitlines()


def write_picture(path, seed: int = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(make_picture(20, 20, seed=seed), "PNG"))


def make_folders(root, counts: "dict[str, int]", seed: int = 0):
    """Folders of pictures that all differ."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            seed += 1
            write_picture(root / name / f"img {index}.png", seed)


def prepare(*arguments) -> int:
    return main("prepare-dataset", [*map(str, arguments), "--jobs", "0"])


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


def write_images(folder, count: int) -> "list[str]":
    for index in range(count):
        write_picture(folder / f"{index}.png", seed=index)
    return [f"{index}.png" for index in range(count)]


def test_csv_of_texts(tmp_path, capsys):
    write_images(tmp_path / "img", 6)
    labels = ["beach|sunset", "beach", "", "sunset | sea", "sea", "beach"]
    rows = "".join(f"{index},{label}\n" for index, label in enumerate(labels))
    (tmp_path / "labels.csv").write_text("id,tags\n" + rows)
    command = ["csv", tmp_path / "labels.csv", "--image-root", tmp_path / "img"]
    assert prepare(*command, "--suffix", ".png", "--val-fraction", "0") == 0
    assert "name: MultiLabelDataset" in capsys.readouterr().out
    assert lines(tmp_path / "img" / "train_list.txt") == [
        "0.png\t1,0,1",
        "1.png\t1,0,0",
        "2.png\t0,0,0",
        "3.png\t0,1,1",
        "4.png\t0,1,0",
        "5.png\t1,0,0",
    ]
    assert lines(tmp_path / "img" / "label_list.txt") == ["0 beach", "1 sea", "2 sunset"]


def test_csv_of_flags_with_parts(tmp_path):
    write_images(tmp_path, 4)
    (tmp_path / "labels.csv").write_text(
        "\ufefffile;cat;dog;set\n0.png;1;0;train\n1.png;0;1.0;train\n2.png;1;1;valid\n3.png;-1;0;test\n",
        encoding="utf-8",
    )
    assert prepare("csv", tmp_path / "labels.csv", "--part-column", "set") == 0
    assert lines(tmp_path / "train_list.txt") == ["0.png\t1,0", "1.png\t0,1"]
    assert lines(tmp_path / "val_list.txt") == ["2.png\t1,1"]
    assert lines(tmp_path / "test_list.txt") == ["3.png\t-1,0"]


def test_csv_with_one_label_each(tmp_path, capsys):
    write_images(tmp_path, 4)
    (tmp_path / "labels.csv").write_text("file,breed\n0.png,pug\n1.png,10\n2.png,2\n3.png,pug\n")
    assert prepare("csv", tmp_path / "labels.csv", "--val-fraction", "0") == 0
    assert "name: ImageNetDataset" in capsys.readouterr().out
    assert lines(tmp_path / "label_list.txt") == ["0 2", "1 10", "2 pug"]
    assert lines(tmp_path / "train_list.txt") == ["0.png 2", "1.png 1", "2.png 0", "3.png 2"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("file,label\n", [], "must hold a line of column names and rows"),
        ("file,label\n0.png\n1.png,a\n", [], "line 2: 1 columns, but the first line has 2"),
        ("file,a,b\n0.png,1,x\n", [], "line 2: column 'b' must be 0, 1 or -1"),
        ("file,a,b\n0.png,1,\n", [], "line 2: column 'b' must be 0, 1 or -1"),
        ("file,label\n0.png,a\n0.png,b\n", [], "line 3: 0.png is in line 2 already"),
        ("file,label\n0.png,a\n", ["--label-column", "labl"], "did you mean 'label'"),
        ("file,label,set\n0.png,a,dev\n", ["--part-column", "set"], "found 'dev'"),
        ('file,label\n"0.png,a\n', [], "is no CSV table"),
    ],
)
def test_csv_faults(tmp_path, capsys, text, arguments, message):
    (tmp_path / "labels.csv").write_text(text)
    assert prepare("csv", tmp_path / "labels.csv", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.txt"))


def test_csv_reports_missing_files(tmp_path):
    write_images(tmp_path, 4)
    rows = "".join(f"{index}.png,{'ab'[index % 2]}\n" for index in range(6))
    (tmp_path / "labels.csv").write_text("file,label\n" + rows)
    assert prepare("csv", tmp_path / "labels.csv") == 0
    assert lines(tmp_path / "left_out.txt") == [
        "4.png\tcannot be read: No such file or directory",
        "5.png\tcannot be read: No such file or directory",
    ]


def test_fractions_must_leave_something(tmp_path, capsys):
    make_folders(tmp_path, {"cat": 3, "dog": 4})
    assert prepare("folder", tmp_path, "--val-fraction", "0.5", "--test-fraction", "0.5") == 1
    assert "leave nothing to train on" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        prepare("folder", tmp_path, "--val-fraction", "20%")


def test_stratified_split_is_proportional_and_keeps_small_classes():
    labels = np.repeat([0, 1, 2, 3], [50, 30, 2, 1])
    is_val = stratified_split(labels, 0.2)
    assert [int(is_val[labels == label].sum()) for label in range(4)] == [10, 6, 1, 0]
    assert np.array_equal(is_val, stratified_split(labels, 0.2))
    assert not np.array_equal(is_val, stratified_split(labels, 0.2, seed=1))


def test_a_test_part_does_not_change_validation():
    labels = np.repeat([0, 1], [50, 30])
    free = np.full(80, "", "<U5")
    without = split_free(free, labels, 0.2)
    with_test = split_free(free, labels, 0.2, test_fraction=0.1)
    assert np.array_equal(without == "val", with_test == "val")
    assert [int((with_test == part).sum()) for part in ("train", "val", "test")] == [56, 16, 8]
    assert np.bincount(labels[with_test == "test"]).tolist() == [5, 3]


def test_multi_label_split_keeps_shares_of_rare_labels():
    rng = np.random.RandomState(0)
    labels = (rng.rand(1000, 4) < [0.5, 0.2, 0.05, 0.02]).astype(np.int8)
    is_val = split_multi_label(labels, 0.2, seed=3)
    assert is_val.sum() == 200
    shares = labels[is_val].sum(axis=0) / labels.sum(axis=0)
    assert np.abs(shares - 0.2).max() < 0.03
    assert np.array_equal(is_val, split_multi_label(labels, 0.2, seed=3))


def test_help_is_fast(repo_root):
    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    command = [sys.executable, "tools/prepare_dataset.py", "--help"]
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    before = cpu_seconds()
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    assert cpu_seconds() - before < 0.5


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
