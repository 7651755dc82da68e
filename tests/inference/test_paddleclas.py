"""PaddleClas's own predictor reads a legacy export and predicts the same."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ppcls.inference import Predictor
from tests.inference.small_model import (
    TRANSFORMS,
    build_seeded,
    make_picture,
    run_script,
    to_jpeg,
    write_training_config,
)

ARCH = {"name": "DSNet_tiny", "depth": [1, 1, 1, 1], "class_num": 1000}
TRANSFORMS_224 = [
    TRANSFORMS[0],
    {"ResizeImage": {"resize_short": 256}},
    {"CropImage": {"size": 224}},
    *TRANSFORMS[3:],
]


@pytest.fixture
def photo(tmp_path):
    """A real photo where the data folder is given, else a generated one."""
    path = tmp_path / "photo.jpg"
    archive = Path(os.environ.get("LOGOCLAS_SHARED", "")) / "data" / "clothing10_original.tar"
    if archive.is_file():
        with tarfile.open(archive) as tar:
            name = sorted(n for n in tar.getnames() if n.endswith(".jpg"))[0]
            path.write_bytes(tar.extractfile(name).read())
    else:
        path.write_bytes(to_jpeg(make_picture(0, size=(400, 300))))
    return path


def test_paddleclas_predicts_the_same_classes(tmp_path, photo):
    command = Path(sys.executable).parent / "paddleclas"
    if not command.exists():
        pytest.skip(f"PaddleClas is not installed beside {sys.executable}")
    model = build_seeded(ARCH, head_scale=0.003)
    config = write_training_config(tmp_path, model, ARCH, TRANSFORMS_224, [3, 224, 224], topk=5)
    done = run_script("tools/export_model.py", "-c", config, "--format", "legacy")
    assert done.returncode == 0, done.stderr
    ours = Predictor(tmp_path / "exported", engine="paddle").predict(photo)[0]
    done = subprocess.run(
        [
            str(command),
            f"--inference_model_dir={tmp_path / 'exported'}",
            f"--infer_imgs={photo}",
            "--use_gpu=False",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FLAGS_enable_pir_api": "0"},
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    found = re.search(r"class_ids: \[([^\]]*)\], scores: \[([^\]]*)\]", output)
    assert found, output
    class_ids, scores = found.groups()
    assert len(set(ours["scores"])) == 5
    assert [int(i) for i in class_ids.split(",")] == ours["class_ids"]
    assert [float(s) for s in scores.split(",")] == pytest.approx(
        ours["scores"], rel=1e-3, abs=2e-5
    )
