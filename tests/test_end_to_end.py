"""From digits to predictions with a shrunken schedule, through the commands a user types."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ppcls.utils.weight_file import read_tensors

CONFIG = "configs/quick_start/digits/DSNet_digits.yaml"
SMALL = [
    "Arch.embed_dim=[8,16,24,32]",
    "Arch.depth=[1,1,1,1]",
    "Arch.num_heads=[1,2,3,4]",
    "Arch.drop_path_rate=0.1",
    "Arch.attn_drop_rate=0.1",
    "Global.epochs=2",
    "Optimizer.lr.warmup_epoch=0",
]


def options(digits, output, *more):
    paths = [f"Global.output_dir={output}"]
    for phase, name in (("Train", "train_list.txt"), ("Eval", "val_list.txt")):
        paths.append(f"DataLoader.{phase}.dataset.image_root={digits}")
        paths.append(f"DataLoader.{phase}.dataset.cls_label_path={digits / name}")
    paths.append(f"Infer.PostProcess.class_id_map_file={digits / 'label_list.txt'}")
    overrides = [*SMALL, *paths, *more]
    return ["-c", CONFIG, *(word for item in overrides for word in ("-o", item))]


def tool(repo_root, name, arguments, launcher=()):
    command = [sys.executable, *launcher, f"tools/{name}.py", *arguments]
    return subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(repo_root, digits, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    done = tool(repo_root, "train", options(digits, output))
    assert done.returncode == 0, done.stderr
    return output / "DSNet"


def same_weights(one, other):
    a, b = read_tensors(one), read_tensors(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_training_writes_its_files(trained):
    results = json.loads((trained / "train_results.json").read_text())
    assert [row["epoch"] for row in results["history"]] == [1, 2]
    assert results["best_metric"] == max(row["eval_top1"] for row in results["history"])
    for name in ("latest", "best_model"):
        for suffix in (".pdparams", ".pdopt", ".pdstates"):
            assert (trained / (name + suffix)).exists()
    assert "[Train][Epoch 1/2][Iter: " in (trained / "train.log").read_text()


def test_saved_config_trains_to_the_same_weights(repo_root, trained, tmp_path):
    again = tool(
        repo_root,
        "train",
        ["-c", str(trained / "config.yaml"), "-o", f"Global.output_dir={tmp_path}"],
    )
    assert again.returncode == 0, again.stderr
    assert same_weights(trained / "latest.pdparams", tmp_path / "DSNet" / "latest.pdparams")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_killed_run_resumes_to_the_same_weights(repo_root, digits, trained, tmp_path, signum):
    arguments = options(digits, tmp_path, "Global.save_interval_steps=1")
    process = subprocess.Popen(
        [sys.executable, "tools/train.py", *arguments],
        cwd=repo_root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    latest = tmp_path / "DSNet" / "latest"
    deadline = time.monotonic() + 120
    while not latest.with_suffix(".pdstates").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signum)
    code = process.wait(timeout=60)
    assert code == (-signal.SIGKILL if signum == signal.SIGKILL else 143)

    resumed = tool(repo_root, "train", options(digits, tmp_path, f"Global.checkpoints={latest}"))
    assert resumed.returncode == 0, resumed.stderr
    assert "Resumed from" in resumed.stdout
    assert same_weights(trained / "latest.pdparams", tmp_path / "DSNet" / "latest.pdparams")


def test_two_processes_evaluate_every_sample_once(repo_root, digits, tmp_path):
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node=2"]
    launcher += ["--log_dir", str(tmp_path / "log")]
    arguments = options(digits, tmp_path, "Global.epochs=1", "DataLoader.Eval.sampler.batch_size=7")
    done = tool(repo_root, "train", arguments, launcher)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "DSNet"
    history = json.loads((folder / "train_results.json").read_text())["history"]
    weights = f"Global.pretrained_model={folder / 'best_model'}"
    alone = tool(repo_root, "eval", options(digits, tmp_path, weights))
    assert alone.returncode == 0, alone.stderr
    average = alone.stdout.split("[Avg]")[1]
    assert f"top1: {history[0]['eval_top1']:.5f}" in average


def test_export_and_predict(repo_root, digits, trained, tmp_path):
    weights = f"Global.pretrained_model={trained / 'best_model'}"
    target = f"Global.save_inference_dir={tmp_path}"
    formats = ["--format", "pir", "--format", "onnx"]
    done = tool(repo_root, "export_model", [*options(digits, tmp_path, weights, target), *formats])
    assert done.returncode == 0, done.stderr
    images = digits / "images" / "3"
    inferred = tool(
        repo_root, "infer", options(digits, tmp_path, weights, f"Infer.infer_imgs={images}")
    )
    assert inferred.returncode == 0, inferred.stderr
    by_model = [json.loads(line) for line in inferred.stdout.splitlines() if line.startswith("{")]

    from ppcls.inference import Predictor

    for engine in ("paddle", "onnxruntime"):
        by_engine = Predictor(tmp_path, engine=engine, batch_size=4).predict(str(images))
        assert [r["class_ids"] for r in by_engine] == [r["class_ids"] for r in by_model]
        assert [r["label_names"] for r in by_engine] == [r["label_names"] for r in by_model]


def test_all_faults_are_named_at_once(repo_root):
    words = ["Optimzer.lr=1", "Global.epochs=ten", "Arch.name=DSNet_tyni"]
    done = tool(repo_root, "train", ["-c", CONFIG, *(x for w in words for x in ("-o", w))])
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "did you mean 'Optimizer'?" in done.stderr
    assert "Global.epochs: expected an integer, received 'ten'" in done.stderr
    assert "did you mean 'DSNet_tiny'?" in done.stderr


def test_bad_data_is_reported_before_the_first_step(repo_root, digits, tmp_path):
    bad = tmp_path / "bad.txt"
    first = (digits / "train_list.txt").read_text().split()[0]
    bad.write_text(f"{first} 10\nmissing.png 1\n")
    path = f"DataLoader.Train.dataset.cls_label_path={bad}"
    done = tool(repo_root, "train", options(digits, tmp_path, path))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "missing.png" in done.stderr
    assert "10" in done.stderr
    assert not (tmp_path / "DSNet" / "latest.pdparams").exists()


def test_help_needs_no_paddle(repo_root):
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    code = (
        "import sys; from ppcls.commands import main\n"
        "try: main('train', ['--help'])\n"
        "except SystemExit: print([m for m in ('paddle', 'cv2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
