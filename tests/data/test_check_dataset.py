"""`tools/check_dataset.py`: real files with one fault each, and all faults at once."""

import json
import os
import signal

import numpy as np
import pytest
from checking import CLASSES, Folder, example, kinds
from pictures import encode, make_picture
from PIL import Image

from ppcls.commands import main
from ppcls.config import load_yaml, save_config
from ppcls.data.inspection.check import DatasetCheck
from ppcls.data.inspection.image_facts import examine
from ppcls.data.inspection.survey import survey
from ppcls.data.transform.decode import decode_image
from ppcls.registry import DATASETS


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def test_clean(folder):
    report = folder.check()
    assert report.findings == []
    numbers = report.splits["Train"]
    assert (numbers["images"], numbers["readable"]) == (12, 12)
    assert numbers["classes"] == [
        {"id": 0, "name": "cat", "images": 4},
        {"id": 1, "name": "1", "images": 4},
        {"id": 2, "name": "2", "images": 4},
    ]
    assert numbers["width"] == {"min": 70, "median": 70, "max": 70}
    assert numbers["aspect"]["median"] == round(70 / 60, 3)
    assert numbers["formats"] == {"JPEG": 12}
    assert (numbers["input_size"], numbers["smaller_than_input"]) == ([48, 48], 0)
    assert report.splits["Eval"]["input_size"] == [48, 40]


def test_unreadable(folder):
    folder.add("train", "text.jpg", b"no image", 0)
    folder.add("train", "cut.jpg", Folder.jpeg("train", 50)[:-400], 1)
    folder.add("val", "empty.jpg", b"", 1)
    folder.lines["val"].append("val/missing.jpg\t0")
    report = folder.check()
    assert kinds(report) == {("Train", "unreadable"): 2, ("Eval", "unreadable"): 2}
    messages = [line for finding in report.findings for line in finding.examples]
    assert messages == [
        f"{folder.root}/train/text.jpg: the file is not an image of a known format",
        f"{folder.root}/train/cut.jpg: the JPEG file is truncated; copy or download it again",
        f"{folder.root}/val/empty.jpg: the file is empty",
        f"{folder.root}/val/missing.jpg: cannot be read: No such file or directory",
    ]
    assert report.splits["Eval"]["readable"] == 6


def test_labels_out_of_range(folder):
    folder.add("train", "a.jpg", Folder.jpeg("train", 50), 3)
    folder.add("train", "b.jpg", Folder.jpeg("train", 51), -1)
    report = folder.check()
    assert kinds(report) == {("Train", "label_out_of_range"): 2}
    assert example(report, "label_out_of_range") == f"{folder.root}/train/a.jpg: label 3"


def test_list_faults_have_line_numbers(folder):
    folder.lines["train"].insert(2, "train/0.jpg cat")
    report = folder.check()
    assert kinds(report) == {("Train", "list"): 1}
    assert "train_list.txt: line 3: expected a path" in example(report, "list")


def test_missing_list_and_folder(folder):
    sections = folder.sections()
    sections["Train"]["dataset"]["cls_label_path"] = "no/such.txt"
    sections["Eval"]["dataset"]["image_root"] = "no/folder"
    report = DatasetCheck(sections, CLASSES).run(jobs=0)
    assert kinds(report) == {("Train", "list"): 1, ("Eval", "unreadable"): 6}
    assert "image_root no/folder is not a folder" in str(report)


def test_leakage(folder):
    folder.add("val", "copy.jpg", Folder.jpeg("train", 4), 1)
    report = folder.check()
    assert kinds(report) == {("Eval", "leakage"): 1}
    root = folder.root
    assert example(report, "leakage") == f"{root}/val/copy.jpg = {root}/train/4.jpg"
    assert "1 of 7 (14.3%)" in str(report)


def test_duplicates_within_a_split(folder):
    folder.add("train", "copy.jpg", Folder.jpeg("train", 4), 1)
    folder.lines["train"] += ["train/5.jpg\t2"] * 2
    report = folder.check()
    assert kinds(report) == {("Train", "duplicate"): 1, ("Train", "listed_twice"): 2}
    assert not report.of("error")


def test_identical_images_with_different_labels(folder):
    folder.add("train", "copy.jpg", Folder.jpeg("train", 4), 2)
    report = folder.check()
    assert kinds(report) == {
        ("Train and Eval", "conflicting_labels"): 2,
        ("Train", "duplicate"): 1,
    }
    assert example(report, "conflicting_labels").endswith("train/copy.jpg (label 2)")


def test_empty_class_and_imbalance(folder):
    folder.lines["train"] = [line for line in folder.lines["train"] if not line.endswith("0")]
    for index in range(100, 138):
        folder.add("train", f"{index}.jpg", Folder.jpeg("train", index, size=(9, 9)), 1)
    report = folder.check()
    assert kinds(report) == {("Train", "empty_class"): 1, ("Train", "imbalance"): 2}
    assert example(report, "empty_class") == "cat"
    assert "1 has 42 images, 10 times those of 2 (4)" in str(report)
    assert report.splits["Train"]["smaller_than_input"] == 38


def test_transforms_that_do_not_fit(folder):
    folder.add("train", "small.jpg", Folder.jpeg("train", 50, size=(47, 90)), 0)
    sections = folder.sections()
    sections["Train"]["dataset"]["transform_ops"] = [
        {"DecodeImage": {}},
        {"CropImage": {"size": 48}},
        {"ToCHWImage": None},
    ]
    report = DatasetCheck(sections, CLASSES).run(jobs=0)
    assert kinds(report) == {("Train", "transform"): 1}
    assert "small.jpg: CropImage cuts out 48x48" in example(report, "transform")


def test_transforms_that_surprise(folder):
    sections = folder.sections()
    # Erasing after a 4-channel normalisation fails deep inside NumPy.
    sections["Train"]["dataset"]["transform_ops"] = [
        {"DecodeImage": {}},
        {"ResizeImage": {"size": 48}},
        {"NormalizeImage": {"order": "", "channel_num": 4}},
        {"RandomErasing": {"EPSILON": 1.0, "mode": "const"}},
        {"ToCHWImage": None},
    ]
    report = DatasetCheck(sections, CLASSES).run(jobs=0)
    assert kinds(report).keys() == {("Train", "transform")}
    assert "train/" in example(report, "transform")


def test_formats_and_orientation(folder):
    exif = Image.Exif()
    exif[274] = 6
    turned = encode(make_picture(90, 30, seed=70), "JPEG", exif=exif)
    folder.add("train", "turned.jpg", turned, 0)
    folder.add("train", "turned.tif", encode(make_picture(9, 9, 71), "TIFF", exif=exif), 0)
    folder.add("train", "grey.png", encode(make_picture(50, 50, seed=72)[..., 0], "PNG"), 0)
    palette = Image.fromarray(make_picture(50, 50, seed=73)).convert("P")
    folder.add("train", "palette.gif", encode(palette, "GIF"), 0)
    numbers = folder.check().splits["Train"]
    assert numbers["formats"] == {"JPEG": 13, "TIFF": 1, "PNG": 1, "GIF": 1}
    assert numbers["modes"] == {"RGB": 14, "L": 1, "P": 1}
    assert numbers["exif_rotated"] == 2
    # The size after turning.
    assert numbers["height"]["max"] == 90


def test_near_duplicates(folder, photos):
    for index, photo in enumerate(photos[:12]):
        folder.add("train", f"photo {index}.jpg", photo, 0)
    image = Image.fromarray(examine(photos[3])[1])
    small = image.resize((image.width // 2, image.height // 2))
    folder.add("val", "small.jpg", encode(small, "JPEG", quality=50), 1)
    assert kinds(folder.check()) == {}
    report = folder.check(near_duplicates=True)
    assert kinds(report) == {("Train and Eval", "near_leakage"): 1}
    assert "train/photo 3.jpg" in example(report, "near_leakage")
    assert "val/small.jpg" in example(report, "near_leakage")
    assert "labels differ" in example(report, "near_leakage")


def test_worker_processes_find_the_same(folder):
    folder.add("train", "text.jpg", b"no image", 0)
    dataset = DATASETS.build(folder.sections()["Train"]["dataset"], seed=0)
    here = survey(dataset, "Train", jobs=0, with_signatures=True)
    there = survey(dataset, "Train", jobs=2, with_signatures=True)
    for name in ("digests", "was_read", "sizes", "signatures", "has_signature"):
        assert np.array_equal(getattr(here, name), getattr(there, name)), name
    assert here.faults == there.faults
    assert here.formats == there.formats == {"JPEG": 12}


def test_an_image_that_kills_its_worker_is_named(folder):
    folder.add("train", "deadly.jpg", b"deadly", 0)
    for index in range(20, 40):
        folder.add("train", f"{index}.jpg", Folder.jpeg("train", index), 0)

    def decode(data: bytes) -> np.ndarray:
        if data == b"deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return decode_image(data)

    dataset = DATASETS.build(folder.sections()["Train"]["dataset"], seed=0)
    found = survey(dataset, "Train", jobs=2, decode=decode)
    assert found.is_readable.sum() == 32
    assert found.unreadable == 1
    assert found.faults[0].index == 12
    assert "was killed by signal 9" in found.faults[0].reason


def write_yaml(folder: Folder, repo_root, path):
    config = load_yaml(repo_root / "configs" / "DSNet" / "DSNet_tiny.yaml")
    config["Arch"]["class_num"] = CLASSES
    config["Global"]["output_dir"] = str(folder.root / "output")
    config["DataLoader"].update(folder.sections())
    config["DataLoader"]["Train"]["batch_transform_ops"] = [{"MixupOperator": {"alpha": 0.8}}]
    (folder.root / "labels.txt").write_text("0 cat\n1 dog\n2 a very long name of a class\n")
    config["Infer"]["PostProcess"]["class_id_map_file"] = str(folder.root / "labels.txt")
    save_config(config, path)


def test_command_reports_all_faults_at_once(folder, repo_root, tmp_path, capsys):
    write_yaml(folder, repo_root, tmp_path / "clean.yaml")
    assert main("check-dataset", ["-c", str(tmp_path / "clean.yaml"), "--jobs", "0"]) == 0
    assert "The datasets can be used; kinds of errors: 0" in capsys.readouterr().out
    output = folder.root / "output" / "dataset_check"
    report = json.loads((output / "report.json").read_text())
    assert report["is_clean"] is True
    with Image.open(output / report["sheet"]) as sheet:
        # Headings of three parts, twelve images in rows of two, their batch, six images of Eval.
        assert sheet.width == 1434
        assert sheet.height > 9 * 112
        colors = sheet.convert("L").getcolors(256)
        assert len(colors) > 200

    folder.add("train", "text.jpg", b"no image", 0)
    folder.add("train", "b.jpg", Folder.jpeg("train", 51), 7)
    folder.add("val", "copy.jpg", Folder.jpeg("train", 4), 2)
    folder.lines["val"].append("val/0.jpg")
    name = os.fsdecode(b"caf\xe9.jpg")
    folder.add("val", name, b"", 1)
    write_yaml(folder, repo_root, tmp_path / "broken.yaml")
    arguments = ["-c", str(tmp_path / "broken.yaml"), "--jobs", "2", "--output", str(output)]
    assert main("check-dataset", arguments) == 1
    printed = capsys.readouterr().out
    assert "The datasets have faults; kinds of errors: 6, of warnings: 0" in printed
    report = json.loads((output / "report.json").read_text())
    assert report["is_clean"] is False
    assert [error["kind"] for error in report["errors"]] == [
        "unreadable",
        "label_out_of_range",
        "list",
        "unreadable",
        "leakage",
        "conflicting_labels",
    ]
    assert report["splits"]["Train"]["classes"][1] == {"id": 1, "name": "dog", "images": 4}
    assert report["errors"][3]["examples"] == [f"{folder.root}/val/{name}: the file is empty"]


def test_command_needs_a_split(folder, repo_root, tmp_path, capsys):
    write_yaml(folder, repo_root, tmp_path / "clean.yaml")
    assert main("check-dataset", ["-c", str(tmp_path / "clean.yaml"), "--splits", "Test"]) == 1
    assert "DataLoader has none of the splits Test; it has Train, Eval" in capsys.readouterr().err


def test_a_dataset_that_cannot_be_built_does_not_hide_the_others(folder):
    sections = folder.sections()
    sections["Train"]["dataset"]["name"] = "MultiScaleDataset"
    sections["Train"]["dataset"]["transform_ops"] = [{"DecodeImage": {}}]
    folder.add("val", "empty.jpg", b"", 1)
    folder.sections()
    report = DatasetCheck(sections, CLASSES).run(jobs=0)
    assert kinds(report) == {("Train", "dataset"): 1, ("Eval", "unreadable"): 1}
