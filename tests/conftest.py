"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# One thread and no user override, so that "bitwise equal" means the same thing on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """A cache folder of the tests' own: what a user has built or downloaded changes no result."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGOCLAS_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout under test."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with golden fixtures and real photos; named by `LOGOCLAS_SHARED`."""
    folder = os.environ.get("LOGOCLAS_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LOGOCLAS_SHARED does not name the folder with golden fixtures and photos")
    return Path(folder)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The digits with 256 training and 90 validation images."""
    from ppcls.data.prepare import prepare_digits

    folder = tmp_path_factory.mktemp("digits")
    prepare_digits(folder)
    for name, count in (("train_list.txt", 256), ("val_list.txt", 90)):
        lines = (folder / name).read_text().splitlines(keepends=True)[:count]
        (folder / name).write_text("".join(lines))
    return folder
