"""Quantisation says what it measured, and writes nothing that lost too much."""

import importlib.util
import json
import shutil

import numpy as np
import onnx
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.commands import main
from ppcls.config import load_config
from ppcls.engine import quantization
from ppcls.engine.evaluation import evaluate
from ppcls.engine.exporter import export_model
from ppcls.engine.onnx_quantizer import quantize_onnx
from ppcls.engine.quantization import calibration_images, quantize
from ppcls.errors import ConfigError, ExportError
from ppcls.inference import Predictor
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import Description
from tests.arch.test_contract import TINY
from tests.inference.small_model import ENGINES, new_description, random_batch

needs_ml_dtypes = pytest.mark.skipif(
    importlib.util.find_spec("ml_dtypes") is None,
    reason="ONNX Runtime's quantisation needs the package ml_dtypes",
)


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "inference")


@pytest.fixture(scope="module", params=ENGINES[1:])
def quantized(request, exported, config_path, tmp_path_factory):
    """A folder with an int8 file for one of the engines."""
    folder = tmp_path_factory.mktemp("quantized") / "inference"
    shutil.copytree(exported, folder)
    arguments = ["-c", str(config_path), "--model_dir", str(folder), "--max_drop", "1"]
    assert main("quantize", [*arguments, "--engine", request.param]) == 0
    return folder


def read_report(folder):
    return json.loads((folder / quantization.REPORT).read_text())


@needs_ml_dtypes
def test_report_tells_what_was_measured(quantized, config_path):
    report = read_report(quantized)
    assert report["calibration_images"] == 7
    assert {"onnxruntime", report["engine"]} == set(report["versions"])
    config = load_config(config_path)
    for precision in ("fp32", "int8"):
        again = evaluate(config, quantized, report["engine"], precision=precision)
        assert report[precision] == pytest.approx(again, rel=1e-4)
        assert set(report[f"{precision}_ms"]) == {"1", "8"}
        assert all(value > 0 for value in report[f"{precision}_ms"].values())
    assert report["fp32"]["loss"] != report["int8"]["loss"]
    assert report["int8_bytes"] == (quantized / "inference_int8.onnx").stat().st_size
    assert "measured on this machine" in report["verdict"]


@needs_ml_dtypes
def test_weighted_layers_are_quantized_and_attention_is_not(quantized):
    graph = onnx.load(str(quantized / "inference_int8.onnx")).graph
    is_for_openvino = read_report(quantized)["engine"] == "openvino"
    made_by = {name: node for node in graph.node for name in node.output}
    used_by = {name: node for node in graph.node for name in node.input}
    weights = {tensor.name: tensor for tensor in graph.initializer}

    def is_rounded(name):
        return name in made_by and made_by[name].op_type == "DequantizeLinear"

    kinds = {"depth-wise": 0, "dense": 0, "attention": 0}
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        values, weight = node.input[:2]
        if weight in weights:
            if np.isin(onnx.numpy_helper.to_array(weights[weight]), (0, 1)).all():
                continue  # It moves values, and rounds none.
            kinds["depth-wise"] += 1
            assert is_for_openvino
            assert weights[weight].dims[1] == 1
        elif is_rounded(weight) and made_by[weight].input[0] in weights:
            kinds["dense"] += 1
            assert is_rounded(values)
            is_output_rounded = used_by[node.output[0]].op_type == "QuantizeLinear"
            assert not (is_for_openvino and is_output_rounded)
        else:
            kinds["attention"] += 1
            # Values for both of them, unless a layer's own output has 8 bits.
            assert not (is_for_openvino and (is_rounded(values) or is_rounded(weight)))
            softmax = made_by[values]
            assert softmax.op_type != "DequantizeLinear" or softmax.input[0] not in weights
    assert kinds["dense"] > 10
    assert kinds["attention"] > 4
    assert (kinds["depth-wise"] > 0) == is_for_openvino


@needs_ml_dtypes
@pytest.mark.parametrize("engine", ENGINES[1:])
def test_predictions_stay_close(quantized, photos, engine):
    """Whichever engine the file was made for."""
    exact = Predictor(quantized, engine="onnxruntime").predict(photos)
    rough = Predictor(quantized, engine=engine, precision="int8").predict(photos)
    scores = [[r["scores"][0] for r in results] for results in (exact, rough)]
    assert scores[0] != scores[1]
    np.testing.assert_allclose(*scores, atol=0.25)


@needs_ml_dtypes
def test_too_large_a_loss_writes_nothing(folder, config_path, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def worse(config, model_dir, engine, precision):
        return {"loss": 1.0, "top1": 0.9 if precision == "fp32" else 0.85}

    monkeypatch.setattr(quantization, "evaluate", worse)
    with pytest.raises(ExportError, match=r"top1 is 0\.8500, 0\.0500 less.*more than 0\.01"):
        quantize(load_config(config_path), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["inference"]


@pytest.mark.parametrize(
    ("int8", "verdict"),
    [
        (5.0, "2.00 times faster than fp32 at batch 1"),
        (9.8, "no faster than fp32 at batch 1"),
        (20.0, "2.00 times SLOWER than fp32 at batch 1"),
    ],
)
def test_verdict_claims_no_gain_that_was_not_measured(int8, verdict):
    assert verdict in quantization._verdict({"1": 10.0}, {"1": int8})


def test_calibration_images_are_prepared_as_exported(exported, config_path, photos):
    description = Description.read(exported)
    images = calibration_images(load_config(config_path), description, 3)
    assert [image.shape for image in images] == [(1, 3, 32, 32)] * 3
    predictor = Predictor(exported, engine="onnxruntime")
    names = sorted(photos.iterdir())
    for image, number in zip(images, (0, 3, 6)):
        np.testing.assert_array_equal(image[0], predictor.preprocess(names[number]))


@needs_ml_dtypes
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("family", ["TransXNet", "VOLO"])
def test_other_families_in_openvino(family, batch_size, tmp_path):
    graph = pytest.importorskip("ppcls.inference.engines.openvino_graph")
    arch, (size, *_) = TINY[family]
    if family == "TransXNet":  # For any number of images OpenVINO cannot compile it in int8.
        arch, size = {**arch, "img_size": 96, "embed_dims": [32, 32, 48, 64]}, (96, 64)
    paddle.seed(2)
    model = build_model({**arch, "class_num": 10})
    for parameter in model.parameters():
        if parameter.ndim == 1:  # Nothing is left out for being 0 or 1.
            parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    description = new_description(image_shape=[3, *size], batch_size=batch_size)
    export_model(model, tmp_path / "inference", description, formats=("pir", "onnx"))
    source, target = (tmp_path / "inference" / f"inference{kind}.onnx" for kind in ("", "_int8"))
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 3, *size)).astype(np.float32) for _ in range(6)]
    quantize_onnx(source, target, samples, "minmax", "openvino")
    exact, rough = (
        create_engine(source.parent, "openvino", precision=precision).run(np.concatenate(samples))
        for precision in ("fp32", "int8")
    )
    assert 0 < np.abs(rough - exact).max() < 0.2 * np.abs(exact).max()
    # Computed kernels are not rounded, so that they are found.
    programs = [graph_of(path, size) for path in (source, target)]
    counts = [graph.convolve_maps(program) for program in programs]
    assert counts[0] == counts[1]
    assert (counts[0] > 0) == (family == "TransXNet" and batch_size is None)


class _PreActivation(paddle.nn.Layer):
    """A residual block behind a convolution without a bias, which two layers read."""

    def __init__(self):
        super().__init__()
        self.stem = paddle.nn.Conv2D(3, 16, 4, stride=4)
        self.entry = paddle.nn.Conv2D(16, 16, 1, bias_attr=False)
        self.norm = paddle.nn.BatchNorm2D(16)
        self.conv = paddle.nn.Conv2D(16, 16, 1, bias_attr=False)
        self.head = paddle.nn.Linear(16, 10)

    def forward(self, x):
        x = self.entry(self.stem(x))
        x = x + self.conv(paddle.nn.functional.relu(self.norm(x)))
        return self.head(paddle.tanh(x).mean(axis=[2, 3]))


@needs_ml_dtypes
@pytest.mark.parametrize("engine", ENGINES[1:])
def test_layer_with_two_readers(engine, tmp_path):
    """OpenVINO gave one of them what had no scale yet."""
    paddle.seed(1)
    model = _PreActivation()
    model.eval()
    folder = tmp_path / "inference"
    export_model(model, folder, new_description(output="logits"), formats=("pir", "onnx"))
    samples = [random_batch(1, seed) for seed in range(4)]
    source, target = folder / "inference.onnx", folder / "inference_int8.onnx"
    quantize_onnx(source, target, samples, "minmax", engine)
    batch = np.concatenate(samples)
    exact = model(paddle.to_tensor(batch)).numpy()
    rough = create_engine(folder, engine, precision="int8").run(batch)
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def graph_of(path, size):
    from ppcls.inference.engines.openvino_engine import CORE

    program = CORE.read_model(str(path))
    program.reshape([1, 3, *size])
    return program


def test_faults_are_sentences(folder, config_path, training_config):
    config = load_config(config_path)
    with pytest.raises(ConfigError, match="unknown engine 'paddle' of quantisation"):
        quantize(config, folder, engine="paddle")
    with pytest.raises(ConfigError, match=r"DataLoader\.Train: quantisation takes images"):
        quantize(load_config(training_config), folder)
    with pytest.raises(ConfigError, match="at least one image"):
        quantize(config, folder, images=0)
    (folder / "inference.onnx").unlink()
    with pytest.raises(ConfigError, match=r"no inference\.onnx"):
        quantize(config, folder)
