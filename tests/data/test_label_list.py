"""List files as people write them."""

import os

import pytest

from ppcls.data.dataset.label_list import LabelList


def read(tmp_path, content: bytes, **options) -> LabelList:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return LabelList(path, **options)


def entries(labels: LabelList) -> "list[tuple[str, int]]":
    return [(labels.names[i], int(labels.labels[i])) for i in range(len(labels))]


@pytest.mark.parametrize(
    "content",
    [
        b"a/b.jpg 0\nc d.jpg 12\n",
        b"a/b.jpg 0\nc d.jpg 12",
        b"a/b.jpg\t0\r\nc d.jpg\t12\r\n",
        b"\xef\xbb\xbfa/b.jpg 0\nc d.jpg 12\n",
        b"  a/b.jpg   0  \n\tc d.jpg \t 12 \n",
    ],
    ids=["plain", "no last line end", "tabs and CRLF", "byte order mark", "spaces around"],
)
def test_spellings_of_the_same_list(tmp_path, content):
    labels = read(tmp_path, content)
    assert labels.faults == []
    assert entries(labels) == [("a/b.jpg", 0), ("c d.jpg", 12)]


def test_delimiter(tmp_path):
    labels = read(tmp_path, b"a,b.jpg,3\nc d.jpg , 4\n", delimiter=",")
    assert labels.faults == []
    assert entries(labels) == [("a,b.jpg", 3), ("c d.jpg", 4)]
    tabs = read(tmp_path, b"a b.jpg\t3\n", delimiter="\t")
    assert entries(tabs) == [("a b.jpg", 3)]


def test_paths_need_not_be_utf8(tmp_path):
    labels = read(tmp_path, b"caf\xe9.jpg 1\n\xe5\x9b\xbe.jpg 2\n")
    assert os.fsencode(labels.names[0]) == b"caf\xe9.jpg"
    assert labels.names[1] == "图.jpg"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"", "a blank line"),
        (b"   ", "a blank line"),
        (b"picture.jpg", "'picture.jpg'"),
        (b"picture.jpg cat", "'picture.jpg cat'"),
        (b"picture.jpg 1.5", "'picture.jpg 1.5'"),
        (b"7", "'7'"),
        (b"picture.jpg 1_0", "'picture.jpg 1_0'"),
    ],
)
def test_malformed_lines_are_named_by_number(tmp_path, line, found):
    labels = read(tmp_path, b"a.jpg 0\n" + line + b"\nb.jpg 1\n")
    assert labels.faults == [
        f"{tmp_path / 'list.txt'}: line 2: expected a path, white space and a whole-number label, "
        f"found {found}"
    ]
    assert entries(labels) == [("a.jpg", 0), ("b.jpg", 1)]


def test_delimiter_is_part_of_the_message(tmp_path):
    labels = read(tmp_path, b"a.jpg 0\n", delimiter=",")
    assert "expected a path, ',' and a whole-number label, found 'a.jpg 0'" in labels.faults[0]


def test_many_malformed_lines_are_counted(tmp_path):
    labels = read(tmp_path, b"nonsense\n" * 500 + b"a.jpg 1\n")
    assert len(labels.faults) == 11
    assert labels.faults[-1] == "... and 490 more like these (500 of 501 lines)"


def test_empty_and_missing_lists(tmp_path):
    assert read(tmp_path, b"").faults == [f"{tmp_path / 'list.txt'}: the list is empty"]
    missing = LabelList(tmp_path / "no.txt")
    assert missing.faults == [f"{tmp_path / 'no.txt'}: cannot be read: No such file or directory"]
    assert "Is a directory" in LabelList(tmp_path).faults[0]
    assert len(missing) == 0


def test_labels_out_of_range(tmp_path):
    labels = read(tmp_path, b"a.jpg 0\nb.jpg 5\nc.jpg -1\nd.jpg 4\n")
    problems = labels.label_problems(class_num=5)
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "b.jpg: label 5 is outside 0..4 (Arch.class_num is 5)",
        "c.jpg: label -1 is outside 0..4 (Arch.class_num is 5)",
    ]
    assert labels.label_problems(class_num=6)[0].startswith(f"{tmp_path / 'list.txt'}: c.jpg")


def test_a_long_list_stays_near_the_size_of_its_file(tmp_path):
    line = b"train/n01440764/n01440764_%d.JPEG %d\n"
    content = b"".join(line % (index, index % 1000) for index in range(50_000))
    labels = read(tmp_path, content)
    assert len(labels) == 50_000
    assert labels.names[49_999] == "train/n01440764/n01440764_49999.JPEG"
    held = sum(a.nbytes for a in (labels.names.starts, labels.names.ends, labels.labels))
    assert held + len(content) < 2 * len(content)
