"""Prediction with an exported folder."""

import functools
import http.server
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ppcls.data.transform import build_transforms
from ppcls.errors import ConfigError, DataError
from ppcls.inference import Predictor
from tests.inference.small_model import ENGINES, LABELS, TRANSFORMS, make_picture, to_jpeg


def answers(results):
    return [(r["class_ids"], r["label_names"]) for r in results]


def scores(results):
    return np.array([r["scores"] for r in results])


def test_every_kind_of_source(exported, photos):
    predictor = Predictor(exported)
    path = photos / "photo1.jpg"
    content = path.read_bytes()
    array = build_transforms(TRANSFORMS[:1])(content)
    by_path = predictor.predict(path)
    assert by_path[0]["file_name"] == str(path)
    assert len(by_path[0]["class_ids"]) == 3
    assert by_path[0]["label_names"] == [LABELS[i] for i in by_path[0]["class_ids"]]
    for source in (str(path), content, array, [path], [array], [content]):
        result = predictor.predict(source)
        assert answers(result) == answers(by_path)
        assert result[0]["scores"] == by_path[0]["scores"]
    mixed = predictor.predict([array, path, photos])
    assert [r["file_name"] for r in mixed[:2]] == ["image 0", str(path)]
    assert len(mixed) == 2 + 7


def test_folder_order_and_batch_sizes(exported, photos):
    (single, batched) = (Predictor(exported, batch_size=size).predict(photos) for size in (1, 4))
    assert [r["file_name"] for r in single] == [str(path) for path in sorted(photos.iterdir())]
    assert [r["file_name"] for r in batched] == [r["file_name"] for r in single]
    assert answers(batched) == answers(single)
    np.testing.assert_allclose(scores(batched), scores(single), atol=2e-5)
    assert len({tuple(r["class_ids"]) for r in single}) > 1
    # Graded scores, so that the comparisons above and below can fail.
    assert all(0.01 < s < 0.99 for r in single for s in r["scores"][:2])


def test_engines_agree(exported, photos):
    results = {
        name: Predictor(exported, engine=name, batch_size=3).predict(photos)
        for name in ("paddle", "onnxruntime")
    }
    assert answers(results["paddle"]) == answers(results["onnxruntime"])
    np.testing.assert_allclose(scores(results["paddle"]), scores(results["onnxruntime"]), atol=5e-5)


def test_without_onednn(exported, photos):
    plain = Predictor(exported, engine="paddle", use_onednn=False).predict(photos)
    assert answers(plain) == answers(Predictor(exported, engine="paddle").predict(photos))


def test_preprocessing_and_postprocess_are_the_exported(exported, photos):
    predictor = Predictor(exported, engine="onnxruntime", topk=10)
    path = photos / "photo0.jpg"
    array = predictor.preprocess(path)
    assert array.shape == (3, 32, 32)
    row = predictor.engine.run(array[None])[0]
    result = predictor.predict(path)[0]
    assert result["class_ids"] == np.argsort(-row, kind="stable").tolist()
    np.testing.assert_allclose(result["scores"], np.sort(row)[::-1], atol=5.1e-6)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_truncated_image(exported, photos, photos_with_a_truncated_one, batch_size):
    predictor = Predictor(exported, batch_size=batch_size)
    results = predictor.predict(photos_with_a_truncated_one)
    assert [r["file_name"][-10:] for r in results] == [f"photo{i}.jpg" for i in range(7)]
    assert set(results[2]) == {"file_name", "error"}
    assert "photo2.jpg" in results[2]["error"] or "truncated" in results[2]["error"].lower()
    others = [r for r in predictor.predict(photos) if not r["file_name"].endswith("photo2.jpg")]
    assert answers(results[:2] + results[3:]) == answers(others)


def test_nothing_to_predict(exported, tmp_path):
    predictor = Predictor(exported, batch_size=2)
    with pytest.raises(DataError, match="holds no images"):
        predictor.predict(tmp_path)
    missing, empty = predictor.predict([tmp_path / "missing.jpg", b""])
    assert "missing.jpg cannot be read" in missing["error"]
    assert empty["error"]


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_never_mix_results(exported, photos, engine):
    predictor = Predictor(exported, engine=engine)
    paths = sorted(photos.iterdir())
    expected = {path: predictor.predict(path) for path in paths}
    jobs = [paths[i * 5 % 7] for i in range(200)]
    with ThreadPoolExecutor(16) as pool:
        for path, result in zip(jobs, pool.map(predictor.predict, jobs)):
            assert result == expected[path]


def test_missing_files_name_what_to_do(exported, tmp_path):
    with pytest.raises(ConfigError, match=r"not an exported model.*tools/export_model\.py"):
        Predictor(tmp_path)
    shutil.copy(exported / "inference.yml", tmp_path)
    with pytest.raises(ConfigError, match=r"no inference\.onnx.*--format onnx"):
        Predictor(tmp_path, engine="onnxruntime")
    shutil.copy(exported / "inference.json", tmp_path)
    with pytest.raises(ConfigError, match=r"inference\.pdiparams.*tools/export_model\.py"):
        Predictor(tmp_path)
    with pytest.raises(ConfigError, match="unknown engine 'paddel'; did you mean 'paddle'"):
        Predictor(exported, engine="paddel")


def test_a_program_alone_is_enough_for_auto(exported, photos, tmp_path):
    for name in ("inference.yml", "inference.json", "inference.pdiparams"):
        shutil.copy(exported / name, tmp_path)
    predictor = Predictor(tmp_path)
    assert predictor.engine.name == "paddle"
    assert len(predictor.predict(photos)) == 7


def test_incomplete_description(exported, tmp_path):
    text = (exported / "inference.yml").read_text()
    (tmp_path / "inference.yml").write_text(text.replace("PreProcess:", "Preparation:"))
    with pytest.raises(ConfigError, match=r"inference\.yml: .*PreProcess"):
        Predictor(tmp_path)


def test_iterators_are_read_a_batch_at_a_time(exported, photos):
    taken = []

    def images():
        for path in sorted(photos.iterdir()):
            taken.append(path)
            yield path.read_bytes()

    predictor = Predictor(exported, engine="onnxruntime", batch_size=2)
    results = predictor.predict_iter(images())
    assert next(results)["file_name"] == "image 0"
    assert len(taken) == 2
    rest = list(results)
    assert [r["file_name"] for r in rest] == [f"image {i}" for i in range(1, 7)]


class _Server:
    """Serves a folder on this machine."""

    def __init__(self, folder):
        handler = functools.partial(_QuietHandler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_urls_only_when_enabled(exported, photos, monkeypatch):
    with _Server(photos) as server:
        sources = [f"{server.url}/photo1.jpg", photos / "photo1.jpg", f"{server.url}/none.jpg"]
        refused, by_path, _ = Predictor(exported, engine="onnxruntime").predict(sources)
        assert set(refused) == {"file_name", "error"}
        assert refused["file_name"] == sources[0]
        assert "allow_urls" in refused["error"]
        assert by_path["class_ids"]
        allowed = Predictor(exported, engine="onnxruntime", allow_urls=True)
        by_url, _, missing = allowed.predict(sources)
        assert by_url == {**by_path, "file_name": sources[0]}
        assert "none.jpg cannot be downloaded" in missing["error"]
        assert "404" in missing["error"]
        monkeypatch.setattr("ppcls.inference.image_source._LARGEST_DOWNLOAD", 100)
        assert "larger than" in allowed.predict(sources[0])[0]["error"]


def resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("engine", ENGINES)
def test_memory_is_bounded_over_images_of_mixed_sizes(exported, tmp_path, engine):
    rng = np.random.default_rng(0)
    for number in range(20):
        size = tuple(int(side) for side in rng.integers(20, 500, 2))
        (tmp_path / f"{number}.jpg").write_bytes(to_jpeg(make_picture(number, size)))
    predictor = Predictor(exported, engine=engine, batch_size=3)
    predictor.predict([tmp_path] * 3)
    before = resident_mib()
    assert sum("error" in result for result in predictor.predict([tmp_path] * 11)) == 0
    # 220 images of 0.2 MiB on average: held ones would take 40 MiB.
    assert resident_mib() - before < 20
