"""List files as people write them."""

import os

import numpy as np
import pytest

from ppcls.data.dataset.label_list import LabelList, MultiLabelList


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


class SlowLabelList(LabelList):
    """Reads every line by itself."""

    def _read_plain(self, lines):
        return no_line_is_plain(lines, np.zeros(len(lines.starts), dtype=np.int64))


class SlowMultiLabelList(MultiLabelList):
    """Reads every line by itself; three labels."""

    def _read_plain(self, lines):
        return no_line_is_plain(lines, np.zeros((len(lines.starts), 3), dtype=np.int8))


def no_line_is_plain(lines, labels):
    count = len(lines.starts)
    return np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64), labels


def random_lines(labels: "list[bytes]", seed: int) -> bytes:
    """Lines in every spelling, good and bad."""
    rng = np.random.default_rng(seed)

    def one_of(*choices: bytes) -> bytes:
        return choices[rng.integers(len(choices))]

    lines = [
        one_of(b"", b"", b"", b" ", b"\t")
        + one_of(b"a.jpg", b"b/c d.jpg", b"\xe9,1.jpg", b"1", b"0,1,1", b"", b"x" * 50)
        + one_of(b" ", b" ", b" ", b"\t", b";", b"  ", b"")
        + one_of(*labels)
        + one_of(b"", b"", b"", b" ", b"\r")
        for _ in range(1000)
    ]
    ends = one_of(b"", b"\n", b"\n\n", b"\r\n")
    return one_of(b"", b"\xef\xbb\xbf") + b"\n".join(lines) + ends


LABELS = [b"0", b"7", b"999", b"256", b"65536", b"-3", b"+4", b"1.5", b"", b"9" * 18, b"9" * 19]
ROWS = [b"0,1,1", b"1,0,0", b"0,-1,1", b"1,1", b"0,2,1", b"0,1,1,1", b"0;1,1", b"1", b"", b"0, 1,0"]


@pytest.mark.parametrize("delimiter", [None, " ", "\t", ";", "  "])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("fast", "slow", "labels"),
    [(LabelList, SlowLabelList, LABELS), (MultiLabelList, SlowMultiLabelList, ROWS)],
)
def test_reading_many_lines_at_a_time_changes_nothing(
    tmp_path, monkeypatch, delimiter, seed, fast, slow, labels
):
    path = tmp_path / "list.txt"
    path.write_bytes(b"first.jpg" + (delimiter or " ").encode() + labels[0] + b"\n")
    with open(path, "ab") as file:
        file.write(random_lines(labels, seed).removeprefix(b"\xef\xbb\xbf"))
    monkeypatch.setattr("ppcls.data.dataset.label_list._BYTES_AT_ONCE", 3000)
    one, other = fast(path, delimiter), slow(path, delimiter)
    assert len(one) == len(other) > 20
    assert [one.names[i] for i in range(len(one))] == [other.names[i] for i in range(len(one))]
    assert np.array_equal(one.labels, other.labels)
    assert one.faults == other.faults


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\n", b"\r\n", b"a", b" ", b"1", b"0,1\n1"])
@pytest.mark.parametrize("kind", [LabelList, MultiLabelList])
def test_next_to_nothing(tmp_path, content, kind):
    (tmp_path / "list.txt").write_bytes(content)
    read_back = kind(tmp_path / "list.txt")
    assert len(read_back) == 0
    assert len(read_back.faults) >= 1


def test_labels_are_exact(tmp_path):
    numbers = [0, 9, 10, 255, 256, 999, 1000, 32768, 65536, 2**31, 2**53 + 1, 10**18 - 1]
    labels = read(tmp_path, b"".join(b"a.jpg %d\n" % number for number in numbers))
    assert labels.labels.tolist() == numbers
