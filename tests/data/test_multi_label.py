"""Datasets whose images have several labels."""

import numpy as np
import pytest
from pictures import RECIPE, write_dataset

from ppcls.data.batching import BatchMaker
from ppcls.data.dataset.multi_label import MultiLabelDataset
from ppcls.data.randomness import SampleKey
from ppcls.registry import DATASETS


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path, 4)
    (tmp_path / "rows.txt").write_text(
        "picture 0.jpg\t1,0,1\npicture 1.jpg\t0,0,1\npicture 2.jpg\t0,1,1\npicture 3.jpg\t0,0,-1\n"
    )
    return tmp_path


def make(folder, **options) -> MultiLabelDataset:
    options.setdefault("transform_ops", RECIPE)
    return MultiLabelDataset(str(folder), str(folder / "rows.txt"), **options)


def test_rows(folder):
    dataset = make(folder)
    assert len(dataset) == 4
    assert dataset.problems(class_num=3) == []
    label = dataset[2].label
    assert label.dtype == np.float32
    assert label.tolist() == [0, 1, 1]


def test_a_batch_of_rows_is_float32(folder):
    make_batch = BatchMaker(make(folder), (), seed=0)
    (images, labels, indices), skipped = make_batch([SampleKey(0, 3), SampleKey(0, 0)])
    assert images.shape == (2, 3, 48, 48)
    assert labels.dtype == np.float32
    assert labels.tolist() == [[0, 0, -1], [1, 0, 1]]
    assert indices.tolist() == [3, 0]
    assert skipped == []


def test_label_ratio_is_the_presence_among_known_labels(folder):
    label = make(folder, label_ratio=True)[1].label
    assert label.shape == (2, 3)
    assert label[0].tolist() == [0, 0, 1]
    assert label[1].tolist() == [0.25, 0.25, 1.0]
    (_, labels, _), _ = BatchMaker(make(folder, label_ratio=True), (), 0)([SampleKey(0, 0)])
    assert labels.shape == (1, 2, 3)


@pytest.mark.parametrize("row", ["1,0", "1,0,1,0", "1,0,2", "1,0,x", "1,,0", ""])
def test_bad_rows_are_named_by_line(folder, row):
    with open(folder / "rows.txt", "a") as file:
        file.write(f"picture 1.jpg\t{row}\n")
    found = f"picture 1.jpg\t{row}".strip()
    assert make(folder).problems(class_num=3) == [
        f"{folder}/rows.txt: line 5: expected a path, '\\t' and 3 labels 0, 1 or -1 (unknown) "
        f"with commas between, found '{found}'"
    ]
    assert len(make(folder)) == 4


def test_rows_that_do_not_fit_the_model(folder):
    assert make(folder).problems(class_num=5) == [
        f"{folder}/rows.txt: rows have 3 labels, but Arch.class_num is 5"
    ]


def test_white_space_may_be_the_delimiter(folder):
    (folder / "rows.txt").write_text("picture 0.jpg 1,0,1\n")
    assert make(folder, delimiter=None)[0].label.tolist() == [1, 0, 1]
    assert "line 1" in make(folder).problems(class_num=3)[0]


def test_a_missing_list(folder):
    dataset = MultiLabelDataset(str(folder), str(folder / "no.txt"))
    assert dataset.problems(class_num=3) == [
        f"{folder}/no.txt: cannot be read: No such file or directory"
    ]


def test_it_is_registered(folder):
    spec = {"name": "MultiLabelDataset", "image_root": ".", "cls_label_path": "no.txt"}
    assert isinstance(DATASETS.build(spec, seed=1), MultiLabelDataset)
