"""Backbones of the `paddleclas` package, present and absent."""

import importlib.util
import inspect
import logging

import paddle
import pytest

from ppcls.arch import build_model, paddleclas_zoo
from ppcls.arch.complexity import count_complexity
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS

needs_paddleclas = pytest.mark.skipif(
    importlib.util.find_spec("paddleclas") is None, reason="paddleclas is not installed"
)


@pytest.fixture
def absent(monkeypatch):
    """An environment without the package."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "paddleclas" else find_spec(name)
    )
    paddleclas_zoo._modules.cache_clear()
    yield
    paddleclas_zoo._modules.cache_clear()


@needs_paddleclas
def test_baseline_is_built_by_name():
    model = build_model({"name": "MobileNetV1_x0_25", "class_num": 3})
    assert model.class_num == 3
    model.eval()
    assert model(paddle.ones([1, 3, 64, 64])).shape == [1, 3]
    complexity = count_complexity(model, (3, 224, 224))
    # The paper (arXiv 1704.04861) has 0.47 M parameters and 41 M MACs, for 1000 classes.
    assert complexity.parameters == pytest.approx(0.47e6 - 997 * 257, rel=0.02)
    assert complexity.total_macs == pytest.approx(41e6 - 997 * 256, rel=0.01)


@needs_paddleclas
def test_names_cover_what_paddleclas_yamls_use():
    names = paddleclas_zoo.names()
    assert len(names) > 350
    assert len(set(names)) == len(names)
    assert {"ResNet50", "SwinTransformer_tiny_patch4_window7_224", "alt_gvt_small"} <= set(names)


@needs_paddleclas
def test_ours_come_first():
    assert type(build_model({"name": "DSNet_tiny"})).__module__ == "ppcls.arch.backbone.dsnet"


@needs_paddleclas
def test_import_leaves_our_log_alone():
    logger = logging.getLogger("ppcls")
    before = logger.handlers[:], logger.level, logger.propagate
    assert paddleclas_zoo.find("ResNet18") is not None
    assert (logger.handlers[:], logger.level, logger.propagate) == before


@needs_paddleclas
def test_misspelt_names_of_both_kinds():
    with pytest.raises(ConfigError, match="unknown arch 'DSNet_tyni'; did you mean 'DSNet_tiny'"):
        ARCHS.get("DSNet_tyni")
    with pytest.raises(ConfigError, match="unknown arch 'RezNet50'; did you mean 'ResNet50'"):
        ARCHS.get("RezNet50")


@needs_paddleclas
def test_levels_are_ours_only():
    with pytest.raises(ConfigError, match="features_only: ResNet18 comes from paddleclas"):
        build_model({"name": "ResNet18", "features_only": True})


def test_absent_package_is_named(absent):
    with pytest.raises(ConfigError) as caught:
        build_model({"name": "ResNet50"})
    assert "unknown arch 'ResNet50'" in str(caught.value)
    assert 'pip install "logoclas[paddleclas]"' in str(caught.value)
    assert paddleclas_zoo.names() == []


def test_absent_package_keeps_the_suggestion(absent):
    with pytest.raises(ConfigError, match="did you mean 'DSNet_tiny'"):
        build_model({"name": "DSNet_tyni"})


@needs_paddleclas
def test_backbones_compute_in_float32():
    """Diverse branch blocks keep an identity kernel of NumPy's float64."""
    arch = {"name": "ResNet18", "layer_type": "DiverseBranchBlock", "use_first_short_conv": False}
    model = build_model({**arch, "class_num": 3})
    assert model(paddle.ones([2, 3, 32, 32])).dtype == paddle.float32


@needs_paddleclas
def test_weights_are_not_fetched_unasked():
    """UniFormers of `paddleclas` fetch theirs unless `pretrained` is false."""
    with_default = paddleclas_zoo.find("UniFormer_small")
    assert inspect.signature(with_default).parameters["pretrained"].default is True
    assert build_model({"name": "UniFormer_small", "class_num": 3}).class_num == 3
