"""`list_models`, its table, and the command that prints it."""

import subprocess
import sys
import time

import pytest

from ppcls.arch import list_models
from ppcls.arch.listing import format_table


def test_names_and_patterns():
    assert {"DSNet", "DSNet_tiny", "DSNet_small", "DSNet_base"} <= set(list_models())
    assert list_models("DSNet_t*") == ["DSNet_tiny"]
    assert list_models() == sorted(list_models())
    assert "ResNet50" not in list_models()


def test_paddleclas_models_are_listed_on_request():
    pytest.importorskip("paddleclas")
    assert "ResNet50" in list_models("*Net50", paddleclas=True)


def test_table():
    header, general, tiny = format_table(["DSNet", "DSNet_tiny"]).splitlines()
    assert header.split() == ["model", "input", "top-1", "%", "weights", "licence", "paper"]
    assert general.split() == ["DSNet", "224", "-", "-", "-", "-"]
    published = ["79.2", "PaddleClas", "Apache-2.0", "arXiv", "2105.14734"]
    assert tiny.split() == ["DSNet_tiny", "224", *published]


def test_counted_table():
    _, row = format_table(["DSNet_tiny"], count=True).splitlines()
    assert row.split()[:4] == ["DSNet_tiny", "10.53", "1.832", "224"]


def test_help_needs_no_paddle(repo_root):
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(repo_root / "tools" / "list_models.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - start < 2  # 0.1 s on an idle machine
    assert "--count" in result.stdout
    assert "| paddle" not in result.stderr
