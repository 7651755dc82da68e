"""Images in tar files, and what is said about broken ones."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest
from pictures import RECIPE, encode, make_picture

from ppcls.data.dataset.tar_index import load_index
from ppcls.data.dataset.tar_shards import TarShardDataset
from ppcls.data.loader import build_loader
from ppcls.errors import DataError

EXTRACT = [{"ResizeImage": {"size": 32}}]


def picture(seed: int) -> bytes:
    return encode(make_picture(60, 50, seed), "JPEG")


def write_tar(path, members: "dict[str, bytes]", format=tarfile.GNU_FORMAT) -> None:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    """Two WebDataset shards with 4 + 3 images of 3 classes."""
    for shard, numbers in enumerate([range(4), range(4, 7)]):
        members = {}
        for number in numbers:
            members[f"{number:04d}.json"] = b"{}"
            members[f"{number:04d}.cls"] = b"%d\n" % (number % 3)
            members[f"{number:04d}.jpg"] = picture(number)
        write_tar(tmp_path / f"train-{shard:03d}.tar", members)
    return tmp_path


def make(shards, **options) -> TarShardDataset:
    options.setdefault("transform_ops", EXTRACT)
    return TarShardDataset(str(shards), **options)


def test_samples(shards):
    dataset = make(shards)
    assert dataset.problems(class_num=3) == []
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert dataset.path(0) == f"{shards}/train-000.tar/0000.jpg"
    assert dataset.path(6) == f"{shards}/train-001.tar/0006.jpg"
    for index in (5, 0, 6, 3):
        assert dataset.read(index) == picture(index)
    assert dataset[4].image.shape == (3, 32, 32)
    assert dataset[4].label == 1


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_and_long_names(tmp_path, format):
    folder = "long/" * 25 + "图" if format != tarfile.USTAR_FORMAT else "short"
    write_tar(
        tmp_path / "a.tar",
        {f"{folder}/x.y.jpg": b"no", f"{folder}/x.JPG": picture(1), f"{folder}/x.cls": b"5"},
        format,
    )
    dataset = make(tmp_path)
    assert dataset.labels.tolist() == [5, 5]
    assert dataset.read(1) == picture(1)
    assert dataset.path(1) == f"{tmp_path}/a.tar/{folder}/x.JPG"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("train-000.tar", 4),
        ("train-*.tar", 7),
        ("train-{000..001}.tar", 7),
        (["train-001.tar", "train-000.tar"], 7),
    ],
)
def test_ways_to_name_shards(shards, text, count):
    texts = [str(shards / part) for part in ([text] if isinstance(text, str) else text)]
    dataset = TarShardDataset(texts)
    assert len(dataset) == count
    assert dataset.problems(class_num=3) == []


def test_missing_shards_are_named(shards):
    dataset = make(shards / "train-{000..002}.tar")
    assert dataset.problems(class_num=3) == [f"{shards}/train-002.tar: no such tar file"]
    assert make(shards / "val-*.tar").problems(3) == [f"{shards}/val-*.tar: no such tar file"]


class TestFolders:
    @pytest.fixture
    def archive(self, tmp_path):
        names = ["./data/train/dog/a.jpg", "data/train/cat/b.jpg", "data/val/cat/c.jpg"]
        write_tar(tmp_path / "data.tar", {n: picture(i) for i, n in enumerate(names)})
        return tmp_path / "data.tar"

    def test_classes_are_the_folders(self, archive):
        dataset = make(archive, label="folder")
        assert dataset.class_names == ["cat", "dog"]
        assert dataset.labels.tolist() == [1, 0, 0]
        assert dataset.problems(class_num=2) == []
        assert "has 2 classes (cat, dog), but Arch.class_num is 3" in dataset.problems(3)[0]

    def test_a_part_of_the_archive(self, archive):
        train = make(archive, label="folder", inside="data/train")
        assert train.labels.tolist() == [1, 0]
        assert train.read(1) == picture(1)
        val = make(archive, label="folder", inside="data/val/", classes=["cat", "dog"])
        assert val.labels.tolist() == [0]
        assert val.problems(class_num=2) == []
        assert make(archive, inside="data/test").problems(2) == [
            f"{archive}: no images in data/test"
        ]

    def test_a_folder_that_is_no_class(self, archive):
        problems = make(archive, label="folder", classes=["cat", "emu"]).problems(class_num=2)
        assert problems == [f"{archive}/./data/train/dog/a.jpg: not in the folder of a class"]

    def test_an_image_in_no_folder(self, tmp_path):
        write_tar(tmp_path / "a.tar", {"cat/a.jpg": picture(0), "b.jpg": picture(1)})
        dataset = make(tmp_path, label="folder")
        assert dataset.class_names == ["cat"]
        assert dataset.problems(class_num=1) == [
            f"{tmp_path}/a.tar/b.jpg: not in the folder of a class"
        ]

    def test_hidden_files_do_not_count(self, tmp_path):
        write_tar(tmp_path / "a.tar", {"cat/._a.jpg": b"of macOS", "cat/a.jpg": picture(0)})
        dataset = make(tmp_path, label="folder")
        assert [dataset.path(i) for i in range(len(dataset))] == [f"{tmp_path}/a.tar/cat/a.jpg"]


class TestIndex:
    def test_it_is_kept_and_used(self, shards, monkeypatch):
        first = make(shards)
        assert sorted(os.listdir(shards)) == [
            "train-000.tar",
            "train-000.tar.index",
            "train-001.tar",
            "train-001.tar.index",
        ]
        monkeypatch.setattr("ppcls.data.dataset.tar_index.build_index", None)
        again = make(shards)
        assert [again.path(i) for i in range(7)] == [first.path(i) for i in range(7)]
        assert again.labels.tolist() == first.labels.tolist()
        assert again.read(5) == picture(5)

    def test_a_changed_tar_file_is_indexed_anew(self, shards):
        assert make(shards).read(0) == picture(0)
        path = shards / "train-000.tar"
        os.unlink(path)
        write_tar(path, {"9.cls": b"2", "9.jpg": picture(9)})
        dataset = make(shards)
        assert dataset.labels.tolist() == [2, 1, 2, 0]
        assert dataset.read(0) == picture(9)

    @pytest.mark.parametrize("damage", ["cut", "text", "empty", "bits"])
    def test_a_broken_index_is_made_anew(self, shards, damage):
        make(shards)
        path = shards / "train-000.tar.index"
        content = bytearray(path.read_bytes())
        if damage == "bits":
            for place in range(200, len(content), 7):
                content[place] ^= 0x55
        broken = {"cut": content[:-40], "text": b"nonsense", "empty": b"", "bits": content}[damage]
        path.write_bytes(broken)
        assert make(shards).read(3) == picture(3)
        assert make(shards).labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert path.read_bytes() != broken

    def test_a_folder_that_cannot_be_written(self, shards, monkeypatch):
        def refuse(path, write):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("ppcls.data.dataset.tar_index.write_with", refuse)
        dataset = make(shards)
        assert dataset.problems(class_num=3) == []
        assert dataset.read(6) == picture(6)
        assert sorted(os.listdir(shards)) == ["train-000.tar", "train-001.tar"]


class TestFaults:
    def problems(self, shards, class_num: int = 3) -> str:
        problems = make(shards).problems(class_num)
        assert len(problems) == 1
        assert problems[0].startswith(f"{shards}/train-000.tar")
        assert not (shards / "train-000.tar.index").exists()
        return problems[0].removeprefix(f"{shards}/train-000.tar: ")

    def cut(self, shards, size: int) -> None:
        path = shards / "train-000.tar"
        path.write_bytes(path.read_bytes()[:size])

    def test_truncated_within_a_member(self, shards):
        self.cut(shards, load_index(shards / "train-000.tar").offsets[2] + 700)
        os.unlink(shards / "train-000.tar.index")
        assert self.problems(shards) == "truncated within 0002.jpg; copy it again"

    def test_truncated_between_members(self, shards):
        index = load_index(shards / "train-000.tar")
        end = index.offsets[1] + -(-index.sizes[1] // 512) * 512
        self.cut(shards, end)
        os.unlink(shards / "train-000.tar.index")
        assert self.problems(shards).startswith(f"no end-of-archive mark at byte {end}: the file")

    def test_a_damaged_header(self, shards):
        path = shards / "train-000.tar"
        content = bytearray(path.read_bytes())
        place = content.index(b"0002.json")
        content[place : place + 100] = b"\xff" * 100
        path.write_bytes(content)
        assert self.problems(shards).startswith(f"no end-of-archive mark at byte {place}")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a whole tar file: empty file"),
            (b"no tar file" * 100, "not a whole tar file: "),
            (gzip.compress(b"tar"), "compressed with gzip"),
        ],
        ids=["empty", "text", "gzip"],  # compressed bytes hold the time: no name for a test
    )
    def test_no_tar_file(self, shards, content, message):
        (shards / "train-000.tar").write_bytes(content)
        assert self.problems(shards).startswith(message)

    def test_a_class_that_is_no_number(self, shards):
        write_tar(shards / "train-000.tar", {"a.jpg": picture(0), "a.cls": b"cat"})
        assert self.problems(shards) == "a.cls: expected a whole number, found 'cat'"

    def test_images_without_a_class(self, shards):
        write_tar(shards / "train-000.tar", {"a.jpg": picture(0), "b.cls": b"1"})
        assert make(shards).problems(class_num=3) == [
            f"{shards}/train-000.tar/a.jpg: no member with its class, `<key>.cls`"
        ]

    def test_labels_out_of_range(self, shards):
        assert make(shards).problems(class_num=2) == [
            f"{shards}/train-000.tar/0002.jpg: label 2 is outside 0..1 (Arch.class_num is 2)",
            f"{shards}/train-001.tar/0005.jpg: label 2 is outside 0..1 (Arch.class_num is 2)",
        ]

    def test_no_images(self, tmp_path):
        write_tar(tmp_path / "a.tar", {"a.txt": b"text"})
        assert make(tmp_path).problems(class_num=2) == [f"{tmp_path}/a.tar: no images"]

    def test_a_broken_image_is_named(self, shards):
        write_tar(shards / "train-000.tar", {"a.jpg": picture(0)[:900], "a.cls": b"1"})
        with pytest.raises(DataError, match=r"train-000\.tar/a\.jpg: the JPEG file is truncated"):
            make(shards)[0]

    def test_a_tar_file_cut_short_later(self, shards):
        dataset = make(shards)
        os.truncate(shards / "train-000.tar", 4096)
        with pytest.raises(DataError, match=r"0003\.jpg: \d+ of \d+ bytes are missing"):
            dataset[3]


@pytest.mark.parametrize("num_workers", [0, 3])
def test_batches_are_the_same_from_any_number_of_workers(shards, num_workers):
    section = {
        "dataset": {"name": "TarShardDataset", "shards": str(shards), "transform_ops": RECIPE},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 3, "shuffle": True},
        "loader": {"num_workers": num_workers},
    }
    loader = build_loader(section, "Train", class_num=3, seed=5)
    dataset = make(shards, transform_ops=RECIPE, seed=5)
    loader.set_epoch(1, start_step=1)
    keys = [key for batch in loader.sampler for key in batch]
    images = np.concatenate([batch.images.numpy() for batch in loader])
    loader.close()
    assert len(images) == 4
    for key, image in zip(keys, images):
        assert np.array_equal(dataset[key].image, image)
