"""Datasets whose images have several labels."""

import numpy as np
import pytest
from pictures import RECIPE, write_dataset

from ppcls.data.batch_transform.mix import mix_labels
from ppcls.data.batching import BatchMaker
from ppcls.data.dataset.multi_label import CsvMultiLabelDataset, MultiLabelDataset
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


CSV = 'image,cat,dog\npicture 0.jpg,1,0\n"picture 1.jpg",1,1\r\npicture 2.jpg, 0 ,-1\n'


def make_csv(folder, text: str = CSV, **options) -> CsvMultiLabelDataset:
    (folder / "rows.csv").write_bytes(text.encode())
    options.setdefault("transform_ops", RECIPE)
    return CsvMultiLabelDataset(str(folder), str(folder / "rows.csv"), **options)


class TestCsv:
    def test_rows(self, folder):
        dataset = make_csv(folder)
        assert dataset.problems(class_num=2) == []
        assert dataset.class_names == ["cat", "dog"]
        assert dataset.labels.tolist() == [[1, 0], [1, 1], [0, -1]]
        assert dataset[1].image.shape == (3, 48, 48)
        assert dataset[1].label.dtype == np.float32
        assert dataset.path(1) == f"{folder}/picture 1.jpg"

    def test_byte_order_mark(self, folder):
        assert make_csv(folder, "\ufeff" + CSV).problems(class_num=2) == []

    def test_columns_can_be_chosen(self, folder):
        text = "id,dog,file,cat\n7,1,picture 0.jpg,0\n"
        dataset = make_csv(folder, text, path_column="file", classes=["cat", "dog"])
        assert dataset.problems(class_num=2) == []
        assert dataset.labels.tolist() == [[0, 1]]
        assert dataset.path(0).endswith("picture 0.jpg")

    def test_label_ratio(self, folder):
        label = make_csv(folder, label_ratio=True)[0].label
        assert label == pytest.approx(np.array([[1, 0], [2 / 3, 1 / 2]]))

    @pytest.mark.parametrize("row", ["picture 0.jpg,1", "picture 0.jpg,1,yes", ",1,0", ""])
    def test_bad_rows_are_named_by_line(self, folder, row):
        found = row or "a blank line"
        assert make_csv(folder, f"{CSV}{row}\n").problems(class_num=2) == [
            f"{folder}/rows.csv: line 5: expected 3 columns, a path and labels 0, 1 or -1 "
            f"(unknown), found {found}"
        ]

    @pytest.mark.parametrize(
        ("text", "options", "problem"),
        [
            ("", {}, "the header must name a column of paths and the classes"),
            ("image,cat\n", {}, "the file has no rows"),
            ("image,cat,cat\n", {}, "the header has cat twice"),
            (CSV, {"classes": ["dogs"]}, "the header has no column 'dogs'; did you mean 'dog'?"),
            (CSV, {"path_column": "path"}, "the header has no column 'path'"),
            ('image,cat\n"a.jpg,1\n', {}, "line 2: unexpected end of data"),
        ],
    )
    def test_broken_files(self, folder, text, options, problem):
        problems = make_csv(folder, text, **options).problems(class_num=1)
        assert problems == [f"{folder}/rows.csv: {problem}"]

    def test_other_problems(self, folder):
        assert make_csv(folder, CSV + "gone.jpg,0,1\n").problems(class_num=3) == [
            f"{folder}/rows.csv: rows have 2 labels, but Arch.class_num is 3",
            f"{folder}/gone.jpg: no such image file",
        ]
        missing = CsvMultiLabelDataset(str(folder), str(folder / "no.csv"))
        assert missing.problems(class_num=2) == [
            f"{folder}/no.csv: cannot be read: No such file or directory"
        ]


def test_mixing_leaves_unknown_labels_unknown():
    rows = np.array([[1, 0, -1], [0, 0, 1]], dtype=np.float32)
    mixed = mix_labels(rows, np.array([1, 0]), 0.75, class_num=3)
    assert mixed.dtype == np.float32
    assert mixed.tolist() == [[0.75, 0, -1], [0.25, 0, -1]]
