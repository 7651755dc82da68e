"""`tools/benchmark_loader.py`: its numbers add up, and it changes nothing."""

import csv
import subprocess
import sys

import pytest
import yaml
from pictures import MIX, RECIPE

from ppcls.commands import main
from ppcls.data.benchmark import measure_operators
from ppcls.data.loader import build_loader


@pytest.fixture
def config(picture_dataset, tmp_path):
    dataset = {
        "name": "ImageNetDataset",
        "image_root": str(picture_dataset),
        "cls_label_path": str(picture_dataset / "list.txt"),
        "transform_ops": RECIPE,
        "batch_transform_ops": MIX,
    }
    sampler = {"name": "DistributedBatchSampler", "batch_size": 8, "shuffle": True}
    section = {"dataset": dataset, "sampler": sampler, "loader": {"num_workers": 3}}
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "Global": {"epochs": 1},
                "Arch": {"name": "DSNet_tiny", "class_num": 5},
                "DataLoader": {"Train": section},
            }
        )
    )
    return path


def test_command(config, tmp_path, capsys):
    table = tmp_path / "new folder" / "costs.csv"
    arguments = ["-c", str(config), "--workers", "0", "2", "--batches", "2", "--csv", str(table)]
    assert main("benchmark-loader", arguments) == 0
    output = capsys.readouterr().out
    for name in ("(read file)", "TimmAutoAugment", "OpSampler", "decode only"):
        assert name in output
    assert output.endswith(f"wrote {table}\n")
    with open(table) as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == "one by one"]
    costs = {row["measured"]: float(row["cpu_ms_per_image"]) for row in rows}
    parts = [costs[name] for name in list(costs)[:-2]]
    assert sum(parts) == pytest.approx(costs["whole"], abs=0.001 * len(parts))
    assert min(costs.values()) >= 0
    assert 0 < costs["decode only"] < costs["whole"]
    with open(table) as file:
        (loaded,) = [row for row in csv.DictReader(file) if row["run"] == "2 workers"]
    assert float(loaded["images_per_second"]) > 0


def test_every_step_is_a_line_in_order(config):
    section = yaml.safe_load(config.read_text())["DataLoader"]["Train"]
    loader = build_loader({**section, "loader": {"num_workers": 0}}, "Train", 5)
    batches = []
    costs = measure_operators(loader, 3, False, lambda: batches.append(1))
    assert len(batches) == 3
    operators = [next(iter(spec)) for spec in RECIPE]
    assert [cost.name for cost in costs] == [
        *("(stack batch)", "(read file)", *operators, "OpSampler", "whole", "decode only")
    ]


def test_a_missing_section_is_named(config, capsys):
    assert main("benchmark-loader", ["-c", str(config), "--split", "Eval"]) == 1
    assert "DataLoader.Eval" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dataset.cls_label_path", "no_such.txt", "no_such.txt"),
        ("sampler.batch_size", 1000, "fewer than a batch"),
    ],
)
def test_nothing_to_measure_is_a_sentence(key, value, expected, config, capsys):
    arguments = ["-c", str(config), "-o", f"DataLoader.Train.{key}={value}"]
    assert (
        main("benchmark-loader", [*arguments, "-o", "DataLoader.Train.sampler.drop_last=true"]) == 1
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--batches", "0"], ["--workers", "-1"], ["--split", "Test"]])
def test_wrong_arguments(config, wrong):
    with pytest.raises(SystemExit):
        main("benchmark-loader", ["-c", str(config), *wrong])


def test_help_does_not_import_paddle(repo_root):
    program = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from ppcls.commands import main\n"
        "try: main('benchmark-loader')\n"
        "except SystemExit: print('paddle' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")
