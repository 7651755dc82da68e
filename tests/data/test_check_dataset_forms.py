"""`tools/check_dataset.py` for datasets other than lists of files with one label each."""

import io
import tarfile

import numpy as np
from checking import EVAL_OPS, example, kinds
from pictures import encode, make_picture

from ppcls.data.inspection.check import DatasetCheck


def test_multi_label(tmp_path):
    rows = ["1,0,1", "0,0,1", "1,0,0", "1,0,0"]
    for index in range(len(rows)):
        picture = make_picture(50, 50, seed=min(index, 2))
        (tmp_path / f"{index}.png").write_bytes(encode(picture, "PNG"))
    lines = [f"{index}.png\t{row}\n" for index, row in enumerate(rows)]
    (tmp_path / "list.txt").write_text("".join(lines))
    section = {
        "dataset": {
            "name": "MultiLabelDataset",
            "image_root": str(tmp_path),
            "cls_label_path": str(tmp_path / "list.txt"),
            "transform_ops": EVAL_OPS,
        }
    }
    report = DatasetCheck({"Train": section}, 3).run(jobs=0)
    assert [c["images"] for c in report.splits["Train"]["classes"]] == [3, 0, 2]
    assert kinds(report) == {("Train", "empty_class"): 1, ("Train", "duplicate"): 1}
    (tmp_path / "list.txt").write_text("".join(lines[:3]) + "3.png\t0,1,0\n")
    report = DatasetCheck({"Train": section}, 4).run(jobs=0)
    assert kinds(report)["Train", "conflicting_labels"] == 2
    assert kinds(report)["Train", "label_out_of_range"] == 4


def test_folders_and_pixels_without_files(tmp_path, photos):
    for index, photo in enumerate(photos[:4]):
        path = tmp_path / "photos" / ("cat", "dog")[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
    (tmp_path / "photos" / "dog" / "broken.png").write_bytes(b"\x89PNG")
    section = {"dataset": {"name": "FolderDataset", "image_root": str(tmp_path / "photos")}}
    report = DatasetCheck({"Train": section}, 2).run(jobs=0)
    assert kinds(report) == {("Train", "unreadable"): 1}
    assert [c["name"] for c in report.splits["Train"]["classes"]] == ["cat", "dog"]
    report = DatasetCheck({"Train": section}, 1).run(jobs=0)
    assert kinds(report)["Train", "label_out_of_range"] == 3
    report = DatasetCheck({"Train": section}, 3).run(jobs=0)
    assert "has 2 classes (cat, dog), but Arch.class_num is 3" in example(report, "list")

    images = np.random.RandomState(0).randint(0, 256, (6, 5, 4)).astype(np.uint8)
    images[5] = images[1]
    header = bytes((0, 0, 8))
    (tmp_path / "images").write_bytes(header + b"\3\0\0\0\6\0\0\0\5\0\0\0\4" + images.tobytes())
    (tmp_path / "labels").write_bytes(header + b"\1\0\0\0\6" + bytes((0, 1, 0, 1, 0, 1)))
    section = {
        "dataset": {
            "name": "IdxDataset",
            "images": str(tmp_path / "images"),
            "labels": str(tmp_path / "labels"),
        }
    }
    report = DatasetCheck({"Train": section}, 2).run(jobs=0)
    assert kinds(report) == {("Train", "duplicate"): 1}
    assert report.splits["Train"]["formats"] == {"array": 6}


def test_tar_files(tmp_path, photos):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for index, content in enumerate([*photos[:3], photos[0], photos[4][:900]]):
            for name, data in ((f"{index}.jpg", content), (f"{index}.cls", b"%d" % (index % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    section = {"dataset": {"name": "TarShardDataset", "shards": str(tmp_path / "photos.tar")}}
    report = DatasetCheck({"Train": section}, 2).run(jobs=2)
    assert kinds(report) == {
        ("Train", "unreadable"): 1,
        ("Train", "conflicting_labels"): 2,
        ("Train", "duplicate"): 1,
    }
    assert example(report, "unreadable").startswith(f"{tmp_path}/photos.tar/4.jpg: the JPEG file")
    section = {"dataset": {"name": "TarShardDataset", "shards": str(tmp_path / "no.tar")}}
    report = DatasetCheck({"Train": section}, 2).run(jobs=0)
    assert "no.tar: no such tar file" in example(report, "list")
