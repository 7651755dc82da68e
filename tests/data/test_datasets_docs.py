"""The pages of datasets and samplers: valid YAML, complete tables, the same in both languages."""

import re

import pytest
import yaml

from ppcls.config import check_config
from ppcls.config.schema import Faults, check_component
from ppcls.registry import DATASETS, SAMPLERS

_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def pages(repo_root) -> "dict[str, str]":
    return {
        language: (repo_root / "docs" / language / "datasets.md").read_text(encoding="utf-8")
        for language in ("en", "zh_CN")
    }


def test_yaml_is_valid(pages):
    faults = Faults()
    blocks = [yaml.safe_load(block) for block in _BLOCK.findall(pages["en"])]
    assert len(blocks) >= 8
    for block in blocks:
        if "DataLoader" in block:
            config = {"Arch": {"name": "DSNet_tiny"}, **block}
            faults.messages += check_config(config)[1]
        for kind in ("dataset", "sampler"):
            if kind in block:
                check_component(kind, block[kind], kind, faults)
    assert faults.messages == []


def test_translations_have_the_same_yaml(pages):
    assert _BLOCK.findall(pages["en"]) == _BLOCK.findall(pages["zh_CN"])


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_every_dataset_and_sampler_is_there(pages, language):
    for name in [*DATASETS.names(), *SAMPLERS.names()]:
        assert f"`{name}`" in pages[language], name
