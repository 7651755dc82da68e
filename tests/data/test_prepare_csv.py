"""`tools/prepare_dataset.py csv`."""

import pytest
from preparing import lines, prepare, write_picture


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
