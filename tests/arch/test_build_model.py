"""`build_model`: forms of a spec, and the options that every model accepts."""

import logging

import paddle
import pytest

from ppcls.arch import Model, build_model
from ppcls.config.schema import Faults, check_component
from ppcls.errors import ConfigError, UserError

SMALL = {"embed_dim": [8, 8, 8, 8], "num_heads": [1, 1, 1, 1], "depth": [1, 1, 1, 1]}


def test_forms_of_a_spec():
    for spec in ("DSNet_tiny", {"name": "DSNet_tiny"}, {"DSNet_tiny": None}):
        model = build_model(spec)
        assert isinstance(model, Model)
        assert model.class_num == 1000
        assert [len(getattr(model, f"blocks{i}")) for i in (1, 2, 3, 4)] == [2, 2, 4, 1]
    with pytest.raises(ConfigError, match="expected a component"):
        build_model({"class_num": 3, "depth": 2})


def test_variants_are_sizes_of_the_family():
    model = build_model({"name": "DSNet_small", **SMALL, "depth": [1, 1, 2, 1]})
    assert len(model.blocks3) == 2


def test_faults_of_a_section_are_found_before_building():
    faults = Faults()
    spec = {"name": "DSNet_tiny", "alhpa": 0.5, "depth": [1, 2], "alpha": 1.5, "pretrained": 3}
    check_component("arch", {**spec, "features_only": True}, "Arch", faults)
    text = "\n".join(faults.messages)
    assert "Arch.alhpa: unknown key; did you mean 'alpha'?" in text
    assert "Arch.depth: expected 4 values, received 2" in text
    assert "Arch.alpha: expected a number >= 0 and <= 1, received 1.5" in text
    assert "Arch.pretrained" in text
    assert len(faults.messages) == 4


def test_sync_bn_on_a_cpu_says_so(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ppcls"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="ppcls"):
        model = build_model({"name": "DSNet", **SMALL, "use_sync_bn": True})
    assert "use_sync_bn: needs GPUs" in caplog.text
    assert model(paddle.ones([1, 3, 32, 32])).shape == [1, 1000]


def test_export_needs_a_fixed_size(tmp_path):
    model = build_model({"name": "DSNet", **SMALL})
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    with pytest.raises(UserError, match="fixed height and width"):
        paddle.jit.save(model, str(tmp_path / "m"), input_spec=[spec])
