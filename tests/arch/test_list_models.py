"""`list_models`, its table, and the command that prints it."""

import subprocess
import sys
import time

import pytest

from ppcls.arch import list_models
from ppcls.arch.listing import format_table, records_table
from ppcls.arch.published import FIGURES


def test_names_and_patterns():
    assert {"DSNet", "DSNet_tiny", "DSNet_small", "DSNet_base"} <= set(list_models())
    assert list_models("DSNet_t*") == ["DSNet_tiny"]
    assert list_models() == sorted(list_models())
    assert "ResNet50" not in list_models()


def test_paddleclas_models_are_listed_on_request():
    pytest.importorskip("paddleclas")
    assert "ResNet50" in list_models("*Net50", paddleclas=True)


def test_table():
    header, general, tiny, base, *note = format_table(
        ["DSNet", "DSNet_tiny", "IDynamicDWNet_base"]
    ).splitlines()
    assert header.split()[:3] == ["model", "input", "params"]
    assert general.split() == ["DSNet", "224", "-", "-", "-", "-", "-", "-"]
    published = ["10.5", "1.8", "79.2", "PaddleClas", "Apache-2.0", "arXiv", "2105.14734"]
    assert tiny.split() == ["DSNet_tiny", "224", *published]
    # No weights were published, so the figures are those of the paper.
    figures = ["80", "14.3", "83.4", "-", "-", "arXiv", "2106.04263"]
    assert base.split() == ["IDynamicDWNet_base", "224", *figures]
    assert "with those of attention and of dynamic aggregation" in note[-1]


def test_counted_table():
    row = format_table(["DSNet_tiny"], count=True).splitlines()[1]
    assert row.split()[:6] == ["DSNet_tiny", "224", "10.53", "(10.5)", "1.832", "(1.8)"]


def test_every_variant_has_published_figures():
    families = {"DSNet", "TransXNet", "DWNet", "VOLO", "SAN"}
    assert set(FIGURES) == set(list_models()) - families


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_documented_weights_are_those_of_the_records(language, repo_root):
    page = (repo_root / "docs" / language / "weights.md").read_text(encoding="utf-8")
    assert records_table() in page


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
