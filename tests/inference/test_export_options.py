"""What an export can be told: output, batch size, folding, ONNX variants; and its report."""

import collections
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest

from ppcls.engine import onnx_conversion, onnx_file
from ppcls.engine.deployed_model import DeployedModel
from ppcls.engine.export_comparison import FP16_TOLERANCE, TOLERANCE
from ppcls.engine.exporter import export_model
from ppcls.engine.onnx_file import read_metadata
from ppcls.errors import ConfigError, ExportError
from ppcls.inference import Predictor
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import Description
from tests.inference.small_model import (
    ENGINES,
    LABELS,
    TRANSFORMS,
    make_picture,
    new_description,
)


def random_batch(count, seed=5):
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def probabilities(model, batch):
    with paddle.no_grad():
        return paddle.nn.functional.softmax(model(paddle.to_tensor(batch)), axis=-1).numpy()


@pytest.fixture(scope="module")
def special(model, tmp_path_factory):
    """Everything at once: topk, batch 2, no folding, another opset, fp16, real images."""
    folder = tmp_path_factory.mktemp("special") / "inference"
    export_model(
        model,
        folder,
        new_description(output="topk", batch_size=2),
        formats=("pir", "onnx_fp16"),
        opset=15,
        images=random_batch(7, seed=11),
        fold=False,
        simplify=False,
    )
    return folder


@pytest.fixture(scope="module")
def large(model, tmp_path_factory):
    """An export in which 20 kB count as 2 GiB."""
    folder = tmp_path_factory.mktemp("large") / "inference"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_conversion, "LARGEST_FILE", 20_000)
        patch.setattr(onnx_conversion, "_LARGE_TENSOR", 1000)
        export_model(model, folder, new_description(), formats=("pir", "onnx_fp16"))
    return folder


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_topk_of_a_fixed_batch(model, special, engine, count):
    """Any number of images, though the program takes two."""
    batch = random_batch(count)
    expected = probabilities(model, batch)
    scores, class_ids = create_engine(special, engine).run_all(batch)
    assert scores.shape == class_ids.shape == (count, 3)
    order = np.argsort(-expected, axis=1)[:, :3]
    np.testing.assert_array_equal(class_ids, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), atol=1e-5)


def test_topk_predicts_like_the_probabilities(special, exported, photos):
    answers = Predictor(special, engine="onnxruntime", batch_size=3).predict(photos)
    for answer, expected in zip(answers, Predictor(exported, engine="onnxruntime").predict(photos)):
        assert answer["class_ids"] == expected["class_ids"]
        assert answer["label_names"] == expected["label_names"]
        assert answer["scores"] == pytest.approx(expected["scores"], abs=2e-5)
    (best,) = Predictor(special, engine="onnxruntime", topk=1).predict(photos / "photo0.jpg")
    assert len(best["class_ids"]) == 1


def test_topk_has_no_more_classes(special, model, tmp_path):
    with pytest.raises(ConfigError, match="gives the best 3 classes, topk=4 is more"):
        Predictor(special, engine="onnxruntime", topk=4)
    with pytest.raises(ConfigError, match="an evaluation needs all"):
        DeployedModel(special, "onnxruntime")
    threshold = new_description(output="topk", postprocess={"name": "ThreshOutput"})
    with pytest.raises(ConfigError, match="goes with the postprocesses Topk"):
        export_model(model, tmp_path / "out", threshold)
    with pytest.raises(ConfigError, match="unknown output 'scores'"):
        export_model(model, tmp_path / "out", new_description(output="scores"))


def test_float16_file(model, special):
    batch = random_batch(4)
    expected = np.sort(probabilities(model, batch), axis=1)[:, ::-1][:, :3]
    engine = create_engine(special, "onnxruntime", precision="fp16")
    distance = np.abs(engine.run(batch) - expected).max() / expected.max()
    assert 1e-6 < distance <= FP16_TOLERANCE
    half = special / "inference_fp16.onnx"
    assert half.stat().st_size < 0.8 * (special / "inference.onnx").stat().st_size
    sizes = collections.Counter()
    for tensor in onnx.load(str(half)).graph.initializer:
        sizes[tensor.data_type] += int(np.prod(tensor.dims))
    assert sizes[onnx.TensorProto.FLOAT16] > 0.9 * sum(p.size for p in model.parameters())
    # What operators that exist in float32 only take.
    assert sizes[onnx.TensorProto.FLOAT] < 0.02 * sizes[onnx.TensorProto.FLOAT16]


def test_report_of_everything(special):
    report = json.loads((special / "export_report.json").read_text())
    assert report["batch_size"] == 2
    assert report["output"] == "topk"
    assert report["folded"] is False
    assert report["onnx"]["opset"] == 15
    assert report["onnx"]["simplified_by"] is None
    assert report["macs"] > report["parameters"] > 10_000
    assert report["tolerance"] == {"fp32": TOLERANCE, "fp16": FP16_TOLERANCE}
    cases = {
        (one["engine"], one["precision"], one["images"], one["batch"])
        for one in report["comparisons"]
    }
    for engine, precision in (
        ("paddle", "fp32"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "fp16"),
    ):
        for kind in ("random", "real"):
            assert {(engine, precision, kind, 1), (engine, precision, kind, 3)} <= cases
    for one in report["comparisons"]:
        assert one["top1_agreement"] == 1
        assert one["max_relative_error"] <= report["tolerance"][one["precision"]]


def test_metadata_is_inside_the_file(special):
    metadata = read_metadata(special / "inference.onnx")
    assert metadata["preprocess"] == TRANSFORMS
    assert metadata["labels"] == {str(number): name for number, name in LABELS.items()}
    assert metadata["image_shape"] == [3, 32, 32]
    assert metadata["output"] == "topk"
    assert set(metadata["versions"]) >= {"logoclas", "paddle", "paddle2onnx", "onnx"}
    assert read_metadata(special / "inference_fp16.onnx") == metadata


def test_folding_makes_fewer_nodes_of_the_same_numbers(special, exported):
    nodes = [
        json.loads((folder / "export_report.json").read_text())["onnx"]["nodes"]
        for folder in (exported, special)
    ]
    assert nodes[0] < nodes[1]


def test_another_batch_size_replaces_every_file(model, special, tmp_path):
    folder = tmp_path / "inference"
    shutil.copytree(special, folder)
    export_model(model, folder, new_description(output="topk"))
    assert Description.read(folder).batch_size is None
    assert not (folder / "inference.onnx").exists()
    assert not (folder / "inference_fp16.onnx").exists()


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_weights_that_do_not_fit_into_a_file_stand_beside_it(large, model, photos, engine):
    batch = random_batch(3)
    found = create_engine(large, engine).run(batch)
    np.testing.assert_allclose(found, probabilities(model, batch), atol=1e-5)
    assert Predictor(large, engine="auto").predict(photos)[0]["class_ids"]


class Numbers(paddle.nn.Layer):
    """Operators with numbers that are float64 since Paddle 3.3."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.GroupNorm(4, 8, epsilon=0.03)

    def forward(self, images):
        padded = paddle.nn.functional.pad(self.norm(images), [1, 0, 0, 1], value=0.3)
        return paddle.nn.functional.softplus(paddle.nn.functional.leaky_relu(padded, 0.2))


@pytest.mark.parametrize("in_float64", [False, True])
def test_numbers_of_operators(tmp_path, in_float64):
    """Whether the program holds them as this version of Paddle writes them, or as 3.3 does."""
    layer = Numbers()
    layer.eval()
    spec = paddle.static.InputSpec([None, 8, 6, 6], "float32")
    paddle.jit.save(layer, str(tmp_path / "inference"), input_spec=[spec])
    program = tmp_path / "inference.json"
    if in_float64:
        program.write_text(program.read_text().replace("a_f32", "a_f64"))
    path = tmp_path / "model.onnx"
    onnx.save(onnx_conversion.convert(program, opset=13), str(path))
    batch = np.random.default_rng(0).normal(0, 0.2, (3, 8, 6, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: batch})
    np.testing.assert_allclose(found, layer(paddle.to_tensor(batch)).numpy(), atol=1e-6)


def test_files_with_weights_beside_them(large, model, exported, tmp_path):
    names = {path.name for path in large.iterdir()}
    assert {"inference.onnx.data", "inference_fp16.onnx.data"} <= names
    report = json.loads((large / "export_report.json").read_text())
    assert {"inference.onnx.data", "inference_fp16.onnx.data"} <= set(report["files"])
    assert read_metadata(large / "inference.onnx")["preprocess"] == TRANSFORMS
    whole, split = (folder / "inference.onnx" for folder in (exported, large))
    assert split.stat().st_size < 0.5 * whole.stat().st_size
    folder = shutil.copytree(large, tmp_path / "inference")
    export_model(model, folder, new_description(), formats=("pir", "onnx"))
    assert not (folder / "inference.onnx.data").exists()


def test_a_file_that_breaks_the_rules_of_onnx_is_refused(model, tmp_path, monkeypatch):
    def break_it(graph):
        node = next(node for node in graph.node if node.input)
        node.input[0] = "a tensor that nobody makes"

    monkeypatch.setattr(onnx_file, "_use_initializers", break_it)
    with pytest.raises(ExportError, match=r"inference\.onnx breaks the rules of ONNX"):
        export_model(model, tmp_path / "out", new_description(), formats=("pir", "onnx"))
    assert list(tmp_path.iterdir()) == []


def test_predict_onnx_needs_neither_paddle_nor_the_folder(exported, photos, tmp_path, repo_root):
    """The file alone, moved elsewhere, in a process that cannot import Paddle or onnx."""
    file = tmp_path / "alone.onnx"
    shutil.copy(exported / "inference.onnx", file)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    code = (
        "import sys, runpy\n"
        "sys.modules['paddle'] = sys.modules['onnx'] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = repo_root / "deploy" / "paddle2onnx" / "predict_onnx.py"
    command = [sys.executable, "-c", code, script, file, photos, broken, "--topk", "3"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    expected = Predictor(exported, engine="onnxruntime").predict(photos)
    assert results[:-1] == expected
    assert set(results[-1]) == {"file_name", "error"}


def test_metadata_for_pictures_in_memory(exported):
    """The preprocessing that the file describes is the predictor's."""
    from ppcls.data.transform import build_transforms

    transforms = build_transforms(read_metadata(exported / "inference.onnx")["preprocess"])
    picture = make_picture(3)
    np.testing.assert_array_equal(
        transforms(picture), Predictor(exported, engine="onnxruntime").preprocess(picture)
    )
