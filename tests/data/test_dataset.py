"""ImageNetDataset: samples, and what it says about a broken dataset."""

import numpy as np
import pytest
from pictures import RECIPE, encode, make_picture, write_dataset

from ppcls.data.dataset.imagenet import ClsDataset, ImageNetDataset
from ppcls.data.randomness import SampleKey
from ppcls.errors import DataError


def make(folder, **options) -> ImageNetDataset:
    options.setdefault("transform_ops", RECIPE)
    return ImageNetDataset(str(folder), str(folder / "list.txt"), **options)


def test_sample(picture_dataset):
    dataset = make(picture_dataset, seed=3)
    assert len(dataset) == 37
    sample = dataset[SampleKey(epoch=2, index=11)]
    assert sample.image.shape == (3, 48, 48)
    assert sample.label == 1
    assert sample.key == SampleKey(2, 11, 0)


def test_a_sample_follows_from_seed_and_key_alone(picture_dataset):
    dataset, again = make(picture_dataset, seed=3), make(picture_dataset, seed=3)
    keys = [SampleKey(0, 5), SampleKey(1, 5), SampleKey(0, 6), SampleKey(0, 5, 1)]
    images = [dataset[key].image for key in keys]
    for key, image in zip(reversed(keys), reversed(images)):
        assert np.array_equal(again[key].image, image)
    for other in images[1:]:
        assert not np.array_equal(images[0], other)
    assert not np.array_equal(make(picture_dataset, seed=4)[keys[0]].image, images[0])
    assert np.array_equal(dataset[5].image, images[0])


def test_a_clean_dataset_has_no_problems(picture_dataset):
    assert make(picture_dataset).problems(class_num=5) == []


def test_all_problems_are_found_without_decoding(tmp_path):
    write_dataset(tmp_path, 4)
    (tmp_path / "folder.jpg").mkdir()
    with open(tmp_path / "list.txt", "a") as file:
        file.write("gone.jpg 0\nno label\npicture 1.jpg 9\nfolder.jpg 1\n")
    problems = make(tmp_path).problems(class_num=5)
    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [
        "list.txt: line 6: expected a path, white space and a whole-number label, found 'no label'",
        "list.txt: picture 1.jpg: label 9 is outside 0..4 (Arch.class_num is 5)",
        "gone.jpg: no such image file",
        "folder.jpg: no such image file",
    ]


def test_a_missing_folder_is_one_problem(picture_dataset):
    list_file = str(picture_dataset / "list.txt")
    problems = ImageNetDataset("/no/such/folder", list_file).problems(class_num=5)
    assert problems == ["image_root /no/such/folder is not a folder"]


def test_many_missing_files_are_counted(tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{i}.jpg 0\n" for i in range(25)))
    problems = make(tmp_path).problems(class_num=1)
    assert len(problems) == 11
    assert problems[-1] == "... and 15 more like these (25 of 25 images)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken.jpg: the file is empty"),
        (b"text", "broken.jpg: the file is not an image of a known format"),
        (encode(make_picture(60, 60), "JPEG")[:900], "broken.jpg: the JPEG file is truncated"),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, content, message):
    (tmp_path / "broken.jpg").write_bytes(content)
    (tmp_path / "list.txt").write_text("broken.jpg 0\n")
    with pytest.raises(DataError, match=message):
        make(tmp_path)[0]


def test_a_missing_image_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("gone.jpg 0\n")
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read: No such file"):
        make(tmp_path)[0]


def test_a_wrong_suffix_does_not_matter(tmp_path):
    (tmp_path / "really.jpg").write_bytes(encode(make_picture(60, 60), "PNG"))
    (tmp_path / "list.txt").write_text("really.jpg 0\n")
    assert make(tmp_path)[0].image.shape == (3, 48, 48)


def test_an_operator_that_does_not_fit_an_image_names_it(tmp_path):
    write_dataset(tmp_path, 1)
    with pytest.raises(DataError, match=r"picture 0\.jpg: CropImage cuts out 500x500"):
        make(tmp_path, transform_ops=["DecodeImage", {"CropImage": {"size": 500}}])[0]


def test_links_are_followed(tmp_path, picture_dataset):
    (tmp_path / "link.jpg").symlink_to(picture_dataset / "picture 3.jpg")
    (tmp_path / "list.txt").write_text("link.jpg 2\n")
    dataset = make(tmp_path)
    assert dataset.problems(class_num=3) == []
    assert dataset[0].label == 2


def test_lists_need_not_name_decoding_and_layout(picture_dataset):
    # PaddleClas's datasets do both by themselves, so its files leave them out.
    whole = make(picture_dataset, seed=3)[4].image
    assert np.array_equal(make(picture_dataset, transform_ops=RECIPE[:-1], seed=3)[4].image, whole)
    assert np.array_equal(make(picture_dataset, transform_ops=RECIPE[1:], seed=3)[4].image, whole)
    first = [{"DecodeImage": {"channel_first": True}}]
    assert make(picture_dataset, transform_ops=first)[4].image.shape == (3, 60, 70)
    assert make(picture_dataset, transform_ops=None)[4].image.shape == (3, 60, 70)


def test_relabel_closes_gaps(tmp_path):
    write_dataset(tmp_path, 3)
    (tmp_path / "list.txt").write_text("picture 0.jpg 7\npicture 1.jpg 3\npicture 2.jpg 7\n")
    dataset = make(tmp_path, relabel=True)
    assert [dataset.label(index) for index in range(3)] == [1, 0, 1]
    assert dataset.problems(class_num=2) == []
    assert "label 7" in make(tmp_path).problems(class_num=2)[0]


def test_cls_dataset_counts_classes(picture_dataset):
    dataset = ClsDataset(str(picture_dataset), str(picture_dataset / "list.txt"), label_ratio=True)
    assert dataset.label_ratio == pytest.approx([8 / 37, 8 / 37, 7 / 37, 7 / 37, 7 / 37])
    assert dataset[6].label == 1


def test_looking_for_files_is_bounded(picture_dataset, monkeypatch):
    lines = (picture_dataset / "list.txt").read_text()
    long_list = picture_dataset / "long.txt"
    long_list.write_text("gone.jpg 0\n" + lines * 20)
    monkeypatch.setattr("ppcls.data.dataset.imagenet._SECONDS_FOR_FILES", -1)
    messages = []
    monkeypatch.setattr("ppcls.data.dataset.imagenet.logger.warning", messages.append)
    problems = ImageNetDataset(str(picture_dataset), str(long_list)).problems(class_num=5)
    assert problems == [f"{picture_dataset}/gone.jpg: no such image file"]
    assert len(messages) == 1
    assert "looked for 256 of 741 image files" in messages[0]
    monkeypatch.undo()
    assert len(ImageNetDataset(str(picture_dataset), str(long_list)).problems(5)) == 1
