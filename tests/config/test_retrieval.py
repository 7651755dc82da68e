"""Retrieval configurations of PaddleClas are refused in one sentence per place."""

import pytest

from ppcls.config import check_config
from ppcls.errors import ConfigError
from ppcls.registry import DATASETS, SAMPLERS

SENTENCE = "retrieval is not supported yet, only classification is"
ARCH = {"name": "DSNet_tiny", "class_num": 10}


def loader(dataset: str = "ImageNetDataset", sampler: str = "DistributedBatchSampler"):
    return {
        "dataset": {"name": dataset, "image_root": ".", "cls_label_path": "list.txt"},
        "sampler": {"name": sampler, "batch_size": 8},
    }


def test_a_model_of_parts():
    arch = {
        "name": "RecModel",
        "infer_output_key": "features",
        "Backbone": {"name": "ResNet50", "pretrained": True},
        "BackboneStopLayer": {"name": "avg_pool"},
        "Neck": {"name": "FC"},
        "Head": {"name": "ArcMargin", "margin": 0.2},
    }
    _, faults = check_config({"Arch": arch})
    assert faults == [f"Arch: Backbone, BackboneStopLayer, Neck, Head: {SENTENCE}"]


def test_evaluation_by_queries():
    splits = {"Train": loader(), "Eval": {"Query": loader("VeriWild"), "Gallery": loader()}}
    checked, faults = check_config({"Arch": ARCH, "DataLoader": splits})
    assert faults == [f"DataLoader.Eval: Query, Gallery: {SENTENCE}"]
    assert set(checked["DataLoader"]) == {"Train"}


def test_samplers_and_datasets():
    for name in ("PKSampler", "DistributedRandomIdentitySampler"):
        _, faults = check_config({"Arch": ARCH, "DataLoader": {"Train": loader(sampler=name)}})
        assert faults == [f"DataLoader.Train.sampler.name: sampler '{name}': {SENTENCE}"]
        with pytest.raises(ConfigError, match=SENTENCE):
            SAMPLERS.get(name)
    with pytest.raises(ConfigError, match=SENTENCE):
        DATASETS.get("VeriWild")


def test_other_faults_are_still_found():
    arch = {"Backbone": {"name": "ResNet50"}}
    _, faults = check_config({"Arch": arch, "Global": {"epochs": -1}, "Nonsense": 1})
    assert len(faults) == 3
