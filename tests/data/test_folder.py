"""A folder per class, without a list."""

import os

import pytest
from pictures import RECIPE, encode, make_picture

from ppcls.data.dataset.folder import FolderDataset
from ppcls.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["dog/a.jpg", "cat/z.PNG", "cat/deep/b.jpg", "cat/a.jpeg"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(make_picture(60, 60, number), "PNG"))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.jpg").write_text("no image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "list.txt").write_text("no folder")
    return tmp_path


def make(folder, **options) -> FolderDataset:
    return FolderDataset(str(folder), RECIPE, **options)


def test_classes_and_images_are_sorted(folder):
    dataset = make(folder)
    assert dataset.problems(class_num=2) == []
    assert dataset.class_names == ["cat", "dog"]
    assert [os.path.relpath(dataset.path(i), folder) for i in range(len(dataset))] == [
        "cat/a.jpeg",
        "cat/deep/b.jpg",
        "cat/z.PNG",
        "dog/a.jpg",
    ]
    assert dataset.labels.tolist() == [0, 0, 0, 1]
    sample = dataset[3]
    assert sample.image.shape == (3, 48, 48)
    assert sample.label == 1


def test_another_number_of_classes_than_the_model(folder):
    assert make(folder).problems(class_num=3) == [
        f"image_root {folder} has 2 classes (cat, dog), but Arch.class_num is 3; correct it, or "
        "give `classes`, the names of all classes in order"
    ]


def test_classes_fix_the_numbers(folder):
    dataset = make(folder, classes=["ant", "dog", "cat"])
    assert dataset.problems(class_num=3) == []
    assert dataset.labels.tolist() == [2, 2, 2, 1]
    assert make(folder, classes=["cat"]).problems(class_num=1) == [
        f"{folder}/dog: this folder is not one of `classes`"
    ]


def test_names_need_not_be_utf8(folder):
    with open(os.fsencode(folder) + b"/dog/caf\xe9.jpg", "wb") as file:
        file.write(encode(make_picture(60, 60), "JPEG"))
    dataset = make(folder)
    assert os.fsencode(dataset.path(4)).endswith(b"dog/caf\xe9.jpg")
    assert dataset[4].label == 1


def test_an_empty_class_is_a_problem(folder):
    (folder / "emu").mkdir()
    assert make(folder).problems(class_num=3) == [
        f"{folder}/emu: no images in the folder of this class"
    ]
    assert make(folder, classes=["cat", "dog", "emu"]).problems(class_num=3) == []


def test_no_folder_and_no_classes(tmp_path):
    assert make(tmp_path / "no").problems(class_num=2) == [
        f"image_root {tmp_path / 'no'}: cannot be read: No such file or directory"
    ]
    assert make(tmp_path).problems(class_num=2) == [
        f"image_root {tmp_path}: no images in folders of classes"
    ]


def test_a_broken_image_is_named(folder):
    (folder / "dog" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/a\.jpg: the file is empty"):
        make(folder)[3]
