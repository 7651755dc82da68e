"""`tools/benchmark.py`: its numbers add up."""

import csv

import numpy as np
import pytest
from PIL import Image

from ppcls.commands import main
from ppcls.inference import Predictor, benchmark


def test_command(exported, photos, tmp_path, capsys):
    code = main(
        "benchmark",
        [
            *(str(exported), "--engine", "onnxruntime", "paddle", "--precision", "fp32", "int8"),
            *("--batch", "1", "2", "--threads", "1", "2", "--rounds", "4"),
            *("--images", str(photos), "--memory", "20"),
            *("--csv", str(tmp_path / "speed.csv"), "--png", str(tmp_path / "speed.png")),
        ],
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "GFLOP/s per core" in out
    assert "preprocessing of" in out
    assert "MiB after a tenth of 20 images" in out
    with open(tmp_path / "speed.csv", newline="") as file:
        *rows, preprocessing = list(csv.DictReader(file))
    # The folder has no int8 file: those engines are left out.
    assert {(r["engine"], r["precision"], r["threads"], r["batch"]) for r in rows} == {
        (engine, "fp32", threads, batch)
        for engine in ("onnxruntime", "paddle")
        for threads in "12"
        for batch in "12"
    }
    assert len(rows) == 8
    for row in rows:
        assert 0 < float(row["p50_ms"]) <= float(row["p99_ms"])
        assert float(row["images_per_second"]) == pytest.approx(
            int(row["batch"]) * 1000 / float(row["p50_ms"])
        )
        assert 0 < float(row["share_of_peak"]) < 1
    assert preprocessing["engine"] == "preprocessing"
    assert float(preprocessing["p50_ms"]) > 0
    with Image.open(tmp_path / "speed.png") as picture:
        assert min(picture.size) > 300


def test_nothing_can_run(exported, capsys):
    assert main("benchmark", [str(exported), "--precision", "int8", "--rounds", "1"]) == 1
    assert "no engine of paddle, onnxruntime, openvino can run" in capsys.readouterr().err


def test_share_of_peak_by_hand():
    speed = benchmark._speed("m", "e", "fp32", 2, 4, [0.1, 0.2, 0.3], 5 * 10**9, 100.0)
    assert speed.p50_ms == pytest.approx(200)
    assert speed.images_per_second == pytest.approx(20)
    assert speed.gflops == pytest.approx(200)
    assert speed.share_of_peak == pytest.approx(1)


def test_peak_does_not_depend_on_numpys_threads():
    assert 1 < benchmark.measure_matmul_peak() < 1000


def test_memory_counts_every_image(exported):
    predictor = Predictor(exported, engine="onnxruntime", batch_size=3)
    seen = []
    run = predictor.run
    predictor.run = lambda images: seen.append(len(images)) or run(images)
    use = benchmark.measure_memory(predictor, benchmark.make_photos(2), 8)
    assert sum(seen) == use.images == 8
    assert use.mib_after_tenth > 0
    assert abs(use.mib_at_end - use.mib_after_tenth) < 200


def test_made_up_photos_have_mixed_sizes():
    import io

    sizes = [Image.open(io.BytesIO(photo)).size for photo in benchmark.make_photos(3)]
    assert sizes == [(160, 120), (880, 660), (1600, 1200)]
    assert len(np.unique(sizes)) == 6
