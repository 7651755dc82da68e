"""Every YAML we ship is valid, tells the truth in its header, and trains."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls.arch.pretrained import RECORDS
from ppcls.commands import main
from ppcls.config import load_config
from ppcls.registry import ARCHS, parse_spec

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
COMPLETE = [path for path in CONFIGS if "_base_" not in path.parts]
RECIPES = [path for path in COMPLETE if "quick_start" not in path.parts]
FAMILIES = {"DSNet", "TransXNet", "DWNet", "VOLO", "SAN"}

#: The smallest members: an image size that makes their steps cheap, and what else does.
SMALL = {
    "DSNet/DSNet_tiny": (64, []),
    "TransXNet/TransXNet_T": (64, []),
    "DWNet/DWNet_tiny": (64, []),
    "DWNet/DynamicDWNet_tiny": (64, ["Arch.depths=[1,1,1,1]", "Arch.embed_dim=48"]),
    "DWNet/IDynamicDWNet_tiny": (64, ["Arch.depths=[1,1,1,1]"]),
    "VOLO/VOLO_D1": (64, []),
    # Reflection needs maps of more than three pixels after five halvings.
    "SAN/SAN10_pairwise": (128, []),
    "SAN/SAN10_patchwise": (128, []),
}
#: Arguments that set the size of an image, by split and operator.
SIZES = {
    "Train": {"RandCropImage": "size"},
    "Eval": {"ResizeImage": "resize_short", "CropImage": "size"},
}


def test_there_are_configs():
    assert COMPLETE


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)
def test_config_is_valid(path):
    load_config(path)


def test_every_variant_has_a_recipe():
    variants = {name for name in ARCHS.names() if name not in FAMILIES}
    assert {path.stem for path in RECIPES} == variants


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_header_of_a_recipe(path):
    header = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    config = load_config(path)
    assert config["Arch"]["name"] == path.stem
    assert "https://arxiv.org/abs/" in header
    assert re.search(r"^# Expected: top-1 \d\d\.\d %", header, re.MULTILINE)
    command = f"tools/train.py -c {path.relative_to(ROOT).as_posix()}\n"
    assert f'python -m paddle.distributed.launch --gpus="0,1,2,3,4,5,6,7" {command}' in header
    _, sampler = parse_spec(config["DataLoader"]["Train"]["sampler"])
    accumulated = config["Global"].get("update_freq", 1)
    declared = int(re.search(r"global batch (\d+)", header).group(1))
    assert 8 * sampler["batch_size"] * accumulated == declared
    assert config["Optimizer"]["lr"]["base_batch_size"] == declared


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_evaluation_is_that_of_the_published_weights(path):
    if path.stem not in RECORDS:
        pytest.skip(f"no weights of {path.stem} are published")
    _, dataset = parse_spec(load_config(path)["DataLoader"]["Eval"]["dataset"])
    assert _plain(dataset["transform_ops"]) == _plain(RECORDS[path.stem].transform_ops())


def _plain(operators):
    """Names and arguments, however the YAML writes them."""
    parsed = [parse_spec(operator) for operator in operators]
    return json.loads(json.dumps(parsed, default=lambda value: list(value)))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A folder of four JPEG files of random pixels, and their list."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.RandomState(0)
    names = [f"{index}.jpg" for index in range(4)]
    for name in names:
        pixels = random.randint(0, 256, (150, 180, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "list.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)))
    return folder


def cheap_overrides(config, images, size, output):
    """Two steps of two images, and an evaluation, on the CPU."""
    overrides = [
        "Global.device=cpu",
        "Global.epochs=1",
        "Global.update_freq=1",
        f"Global.output_dir={output}",
        f"Global.image_shape=[3,{size},{size}]",
        "Optimizer.lr.warmup_epoch=0",
    ]
    for split, sizes in SIZES.items():
        where = f"DataLoader.{split}"
        overrides += [
            f"{where}.dataset.image_root={images}",
            f"{where}.dataset.cls_label_path={images / 'list.txt'}",
            f"{where}.sampler.batch_size=2",
            f"{where}.loader.num_workers=0",
        ]
        for index, operator in enumerate(config["DataLoader"][split]["dataset"]["transform_ops"]):
            name, _ = parse_spec(operator)
            if name in sizes:
                key = f"{where}.dataset.transform_ops.{index}.{name}.{sizes[name]}"
                overrides.append(f"{key}={size}")
    return overrides


@pytest.mark.parametrize("name", SMALL)
def test_two_steps_on_random_images(name, noise, tmp_path):
    path = ROOT / "configs" / f"{name}.yaml"
    config = load_config(path)
    size, overrides = SMALL[name]
    overrides = [*overrides, *cheap_overrides(config, noise, size, tmp_path)]
    words = [word for override in overrides for word in ("-o", override)]
    assert main("train", ["-c", str(path), *words]) == 0

    folder = tmp_path / path.stem
    states = json.loads((folder / "latest.pdstates").read_text())["states"]
    assert states["position"]["iteration"] == 2
    row = json.loads((folder / "train_results.json").read_text())["history"][0]
    assert np.isfinite(row["train_loss"])
    assert np.isfinite(row["eval_loss"])
    assert (folder / "latest.pdema").exists() == ("EMA" in config)
    shutil.rmtree(folder)  # hundreds of megabytes, which pytest would keep


def test_check_config_command(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("Arch: {name: DSNet_tyni}\nGlobal: {epochs: -1}\n")
    good = str(ROOT / "configs/DSNet/DSNet_tiny.yaml")
    assert main("check-config", ["-c", good, str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"OK   {good}"
    assert lines[1].startswith(f"FAIL {bad}: 2 faults")
    assert any("Global.epochs: expected a number >= 1, received -1" in line for line in lines)
    assert any("did you mean 'DSNet_tiny'?" in line for line in lines)
