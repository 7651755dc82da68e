"""Prediction with an exported folder."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ppcls.data.transform import build_transforms
from ppcls.errors import ConfigError, DataError
from ppcls.inference import Predictor
from tests.inference.small_model import ENGINES, LABELS, TRANSFORMS


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
    with ThreadPoolExecutor(8) as pool:
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
