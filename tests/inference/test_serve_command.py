"""`ppcls serve` where the packages of the server are not installed."""

import sys

from ppcls.commands import main


def test_missing_package_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ppcls.serving.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main("serve", ["--model_dir", str(tmp_path)]) == 1
    assert 'pip install "logoclas[serve]"' in capsys.readouterr().err
