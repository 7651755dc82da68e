"""What the tests of `tools/prepare_dataset.py` share."""

from pictures import encode, make_picture

from ppcls.commands import main


def lines(path) -> "list[str]":
    return path.read_text().splitlines()


def write_picture(path, seed: int = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(make_picture(20, 20, seed=seed), "PNG"))


def prepare(*arguments) -> int:
    return main("prepare-dataset", [*map(str, arguments), "--jobs", "0"])
