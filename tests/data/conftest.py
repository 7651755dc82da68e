"""Fixtures of the tests of `ppcls.data`."""

import tarfile
from pathlib import Path

import pytest
from pictures import write_dataset


@pytest.fixture(scope="session")
def picture_dataset(tmp_path_factory) -> Path:
    """A folder with 37 pictures of 5 classes and `list.txt`."""
    folder = tmp_path_factory.mktemp("pictures")
    write_dataset(folder, 37)
    return folder


@pytest.fixture(scope="session")
def photos(shared_dir) -> "list[bytes]":
    """48 JPEG photos as they were taken, shorter side 400."""
    with tarfile.open(shared_dir / "data" / "clothing10_original.tar") as archive:
        members = sorted(
            (m for m in archive.getmembers() if m.name.endswith(".jpg")), key=lambda m: m.name
        )
        return [archive.extractfile(member).read() for member in members[::7][:48]]
