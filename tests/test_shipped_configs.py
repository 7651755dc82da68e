"""Every YAML we ship is valid."""

from pathlib import Path

import pytest

from ppcls.commands import main
from ppcls.config import load_config

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").rglob("*.yaml"))
COMPLETE = [path for path in CONFIGS if "_base_" not in path.parts]


def test_there_are_configs():
    assert COMPLETE


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)
def test_config_is_valid(path):
    load_config(path)


def test_check_config_command(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("Arch: {name: DSNet_tyni}\nGlobal: {epochs: -1}\n")
    assert main("check-config", ["-c", str(COMPLETE[0]), str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"OK   {COMPLETE[0]}"
    assert lines[1].startswith(f"FAIL {bad}: 2 faults")
    assert any("Global.epochs: expected a number >= 1, received -1" in line for line in lines)
    assert any("did you mean 'DSNet_tiny'?" in line for line in lines)
