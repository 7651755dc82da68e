"""Reading, inheriting, overriding and checking configurations."""

import copy
import subprocess
import sys

import pytest

from ppcls.config import apply_overrides, check_config, load_config, load_yaml, save_config
from ppcls.errors import ConfigError

ARCH = {"name": "DSNet_tiny", "class_num": 10}


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def faults_of(config):
    return check_config(config)[1]


def test_base_chain_merges_dicts_and_replaces_lists(tmp_path):
    path = write(
        tmp_path,
        top="_BASE_: middle.yaml\nA: {x: 1, l: [9]}\n",
        middle="_BASE_: [low.yaml]\nA: {y: 2}\n",
        low="A: {x: 0, y: 0, z: 3, l: [1, 2]}\nB: {_REPLACE_: false, c: 1}\n",
    )
    assert load_yaml(path) == {"A": {"x": 1, "y": 2, "z": 3, "l": [9]}, "B": {"c": 1}}


def test_replace_drops_the_base_mapping(tmp_path):
    path = write(tmp_path, top="_BASE_: low.yaml\nA: {_REPLACE_: true, y: 2}\n", low="A: {x: 1}\n")
    assert load_yaml(path) == {"A": {"y": 2}}


def test_cycle_names_the_chain(tmp_path):
    path = write(tmp_path, a="_BASE_: b.yaml\n", b="_BASE_: a.yaml\n")
    with pytest.raises(ConfigError, match=r"cycle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_yaml(path)


def test_missing_base_names_who_asked(tmp_path):
    path = write(tmp_path, a="_BASE_: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"gone\.yaml does not exist .*a\.yaml"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: 1\nA: 2\n", r"line 2.*'A' is written twice"),
        ("A: [1\n", "not valid YAML"),
        ("- 1\n", "expected sections"),
        ("A: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_yaml(write(tmp_path, a=text))


def test_overrides_are_data():
    config = {"A": {"b": [{"c": 1}]}, "D": None}
    changed = apply_overrides(config, ["A.b.0.c=[1, x]", "D.e=__import__('os')", "F.g=true"])
    assert changed == {
        "A": {"b": [{"c": [1, "x"]}]},
        "D": {"e": "__import__('os')"},
        "F": {"g": True},
    }
    assert config["A"]["b"][0]["c"] == 1


@pytest.mark.parametrize("override", ["A", "A.b.7=1", "A.b.x=1", "A.n.x=1", "A..b=1"])
def test_overrides_that_do_not_fit(override):
    with pytest.raises(ConfigError, match="-o "):
        apply_overrides({"A": {"b": [1], "n": 3}}, [override])


def test_every_fault_is_found_at_once():
    faults = faults_of(
        {
            "Arch": {"name": "DSNet_tyni"},
            "Globl": {},
            "Global": {"epochs": "ten", "device": "gppu", "print_batch_stp": 3, "seed": -1},
            "AMP": {"level": "O3"},
            "Loss": {"Train": [{"CELos": {}}, {"CELoss": {"epsilonn": 0.1}}]},
            "Optimizer": {"name": "AdamW", "lr": {"name": "Cosine"}, "beta3": 1},
        }
    )
    text = "\n".join(faults)
    for expected in (
        "Arch.name: unknown arch 'DSNet_tyni'; did you mean 'DSNet_tiny'?",
        "Globl: unknown section; did you mean 'Global'?",
        "Global.epochs: expected an integer, received 'ten'",
        "received 'gppu'; did you mean 'gpu'?",
        "Global.print_batch_stp: unknown key; did you mean 'print_batch_step'?",
        "Global.seed: expected a number >= 0, received -1",
        "AMP.level: expected one of 'O1', 'O2', received 'O3'",
        "Loss.Train.0: unknown loss 'CELos'; did you mean 'CELoss'?",
        "Loss.Train.1.CELoss.epsilonn: unknown key; did you mean 'epsilon'?",
        "Optimizer.lr.learning_rate: required key is missing",
        "Optimizer.beta3: unknown key; did you mean 'beta2'?",
    ):
        assert expected in text


def test_transform_faults_have_their_path():
    dataset = {
        "name": "ImageNetDataset",
        "image_root": "x",
        "cls_label_path": "y",
        "transform_ops": [{"DecodeImage": None}, {"RandCropImage": {"sise": 224}}],
    }
    loader = {"dataset": dataset, "sampler": {"name": "DistributedBatchSampler", "batch_size": 8}}
    text = "\n".join(faults_of({"Arch": ARCH, "DataLoader": {"Train": loader}}))
    path = "DataLoader.Train.dataset.transform_ops.1.RandCropImage"
    assert f"{path}.sise: unknown key; did you mean 'size'?" in text
    assert f"{path}.size: required key is missing" in text


def test_what_only_a_constructor_can_tell_is_found():
    operators = [
        {"ResizeImage": {"interpolation": "area"}},
        {"ResizeImage": {"size": 8, "interpolation": "area", "backend": "pil"}},
        {"TimmAutoAugment": {"config_str": "rand-m9-q3"}},
        {"GridMask": {"d1": 9, "d2": 9}},
        {"CropImage": {"size": 8}},
    ]
    mix = [{"OpSampler": {"MixupOperator": {"prob": 0.7}, "CutmixOperator": {"prob": 0.7}}}]
    split = {
        "dataset": {
            "name": "ImageNetDataset",
            "image_root": "x",
            "cls_label_path": "y",
            "transform_ops": operators,
            "batch_transform_ops": mix,
        },
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 8},
    }
    faults = faults_of({"Arch": ARCH, "DataLoader": {"Train": split}})
    path = "DataLoader.Train"
    expected = {
        f"{path}.dataset.transform_ops.0.ResizeImage": "needs `size` or `resize_short`",
        f"{path}.dataset.transform_ops.1.ResizeImage": "pil has no interpolation 'area'",
        f"{path}.dataset.transform_ops.2.TimmAutoAugment": "'q3'; rand takes",
        f"{path}.dataset.transform_ops.3.GridMask": "d2 must be larger than d1",
        f"{path}.batch_transform_ops.0.OpSampler": "sum to 1.4",
    }
    assert sorted(fault.split(": ")[0] for fault in faults) == sorted(expected)
    for where, message in expected.items():
        assert any(fault.startswith(where) and message in fault for fault in faults), where


def test_numbers_written_as_text_become_numbers():
    lr = {"name": "Cosine", "learning_rate": "1e-3"}
    config, faults = check_config({"Arch": ARCH, "Optimizer": {"name": "AdamW", "lr": lr}})
    assert faults == []
    assert config["Optimizer"]["lr"]["learning_rate"] == 1e-3


def test_old_places_of_keys_are_moved():
    config, faults = check_config({"Arch": {"name": "DSNet_tiny"}, "Global": {"class_num": 5}})
    assert faults == []
    assert config["Arch"]["class_num"] == 5


def test_config_is_frozen_and_round_trips(tmp_path):
    path = write(tmp_path, a="Arch: {name: DSNet_tiny, class_num: 3}\nGlobal: {epochs: 4}\n")
    config = load_config(path, ["Global.image_shape=[3,64,64]"])
    with pytest.raises(TypeError, match="read-only"):
        config["Global"].pop("epochs")
    copied = copy.deepcopy(config)
    copied["Global"]["image_shape"].append(1)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


def test_import_is_free(repo_root):
    code = (
        "import sys, ppcls, ppcls.config.yaml_file\n"
        "print([m for m in ('paddle', 'cv2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_nones_of_python_are_nulls():
    config = {"Arch": ARCH, "Infer": {"PostProcess": {"name": "Topk", "class_id_map_file": "None"}}}
    checked, faults = check_config(config)
    assert not faults
    assert checked["Infer"]["PostProcess"]["class_id_map_file"] is None
