"""Engines one by one, and the choice among them."""

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest

from ppcls.engine.exporter import write_program
from ppcls.errors import ConfigError
from ppcls.inference.engines import choice, create_engine
from ppcls.inference.engines.pool import Pool
from tests.inference.small_model import ENGINES, random_batch


class FakeEngine:
    """Adds `offset` to the mean of each channel, after `delay` seconds."""

    def __init__(self, offset=0.0, delay=0.0):
        self.offset = offset
        self.delay = delay

    def run(self, images):
        time.sleep(self.delay)
        return images.mean(axis=(2, 3)) + self.offset


@pytest.fixture
def fake_engines(monkeypatch, tmp_path):
    """A function that replaces the engines by fakes, and the cache by an empty one."""

    def replace(**engines):
        def create(folder, name, *_):
            if isinstance(engines[name], Exception):
                raise engines[name]
            return engines[name]

        monkeypatch.setattr("ppcls.inference.engines.create_engine", create)
        monkeypatch.setattr(choice, "_candidates", lambda *_: list(engines))
        monkeypatch.setenv("LOGOCLAS_HOME", str(tmp_path / "cache"))

    return replace


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ppcls"), "propagate", True)
    caplog.set_level(logging.INFO, logger="ppcls")
    return caplog


def test_the_fastest_is_chosen_and_said(exported, fake_engines, log):
    fake_engines(
        paddle=FakeEngine(delay=0.02),
        onnxruntime=FakeEngine(delay=0.001),
        openvino=FakeEngine(delay=0.01),
    )
    assert choice.choose_engine(exported) == "onnxruntime"
    assert "chose onnxruntime" in log.text
    assert "paddle 2" in log.text  # 20-something ms


def test_a_fast_engine_with_other_numbers_is_left_out(exported, fake_engines, log):
    fake_engines(
        paddle=FakeEngine(delay=0.01),
        onnxruntime=FakeEngine(offset=0.01),
        openvino=FakeEngine(delay=0.003),
    )
    assert choice.choose_engine(exported) == "openvino"
    assert "leaves out onnxruntime: its output is not that of the others" in log.text


def test_two_engines_that_disagree_are_an_error(exported, fake_engines):
    fake_engines(paddle=FakeEngine(), onnxruntime=FakeEngine(offset=0.01))
    with pytest.raises(ConfigError, match=r"no two engines of paddle, onnxruntime.*by its name"):
        choice.choose_engine(exported)


def test_an_engine_that_cannot_run_is_left_out(exported, fake_engines, log):
    fake_engines(paddle=NotImplementedError("no such operator"), onnxruntime=FakeEngine())
    assert choice.choose_engine(exported) == "onnxruntime"
    assert "leaves out paddle: no such operator" in log.text


def test_not_finite_is_not_agreement(exported, fake_engines):
    fake_engines(
        paddle=FakeEngine(delay=0.002),
        onnxruntime=FakeEngine(offset=np.nan),
        openvino=FakeEngine(delay=0.01),
    )
    assert choice.choose_engine(exported) == "paddle"


def test_the_choice_is_remembered_until_something_changes(
    exported, tmp_path, fake_engines, monkeypatch
):
    folder = tmp_path / "inference"
    shutil.copytree(exported, folder)
    fake_engines(paddle=FakeEngine(delay=0.005), onnxruntime=FakeEngine())
    measured = []
    measure = choice._measure
    monkeypatch.setattr(choice, "_measure", lambda *a, **k: measured.append(k) or measure(*a, **k))
    assert choice.choose_engine(folder) == "onnxruntime"
    assert choice.choose_engine(folder) == "onnxruntime"
    assert len(measured) == 1
    (file,) = (tmp_path / "cache" / "engines").iterdir()
    kept = json.loads(file.read_text())
    assert kept["engine"] == "onnxruntime"
    assert set(kept["ms_per_image"]) == {"paddle", "onnxruntime"}
    choice.choose_engine(folder, threads=2)
    choice.choose_engine(folder, batch_size=2)
    assert len(measured) == 3
    with open(folder / "inference.onnx", "ab") as changed:
        changed.write(b"\0")
    choice.choose_engine(folder)
    assert len(measured) == 4
    monkeypatch.setattr(choice, "describe_processor", lambda: "another")
    choice.choose_engine(folder)
    assert len(measured) == 5


def test_auto_runs_real_engines(exported):
    engine = create_engine(exported, "auto")
    batch = random_batch(3)
    expected = create_engine(exported, "paddle").run(batch)
    np.testing.assert_allclose(engine.run(batch), expected, atol=1e-4)


@pytest.mark.parametrize("name", ENGINES)
def test_sixteen_threads_never_mix_results(exported, name):
    """Batches of several sizes, each with an output of its own."""
    engine = create_engine(exported, name)
    batches = [random_batch(1 + i % 3, seed=i) for i in range(24)]
    expected = [engine.run(batch) for batch in batches]
    assert len({e.tobytes() for e in expected}) == 24
    barrier = threading.Barrier(16)

    def run_all(start):
        barrier.wait()
        order = [(start * 5 + step * 7) % 24 for step in range(10)]
        return [(index, engine.run(batches[index])) for index in order]

    with ThreadPoolExecutor(16) as pool:
        for results in pool.map(run_all, range(16)):
            for index, result in results:
                np.testing.assert_allclose(result, expected[index], atol=1e-6)


def test_pool_never_lends_twice_and_never_makes_more():
    made, lent, seen_twice = [], set(), []

    def make():
        made.append(object())
        return made[-1]

    pool = Pool(make, size=3)

    def use(_):
        with pool.lend() as item:
            if id(item) in lent:
                seen_twice.append(item)
            lent.add(id(item))
            time.sleep(0.001)
            lent.discard(id(item))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(100)))
    assert not seen_twice
    assert len(made) == 3


def test_pool_reuses_before_it_makes():
    made = []
    pool = Pool(lambda: made.append(1) or len(made), size=3)
    for _ in range(5):
        with pool.lend() as item:
            assert item == 1


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("paddle", "bf16", "'paddle' has no precision 'bf16'"),
        ("onnxruntime", "bf16", "'onnxruntime' has no precision 'bf16'"),
        ("openvino", "fp16", "'openvino' has no precision 'fp16'"),
        ("onnxruntime", "int8", r"no inference_int8\.onnx; make one with tools/quantize\.py"),
        ("auto", "int9", "unknown precision 'int9'; did you mean 'int8'"),
        ("auto", "int8", "holds nothing that can run"),
    ],
)
def test_precision_that_is_not_there(exported, engine, precision, message):
    with pytest.raises(ConfigError, match=message):
        create_engine(exported, engine, precision=precision)


def test_openvino_computes_in_float32_unless_told(exported):
    core = pytest.importorskip("ppcls.inference.engines.openvino_engine").CORE
    batch = random_batch(8)
    exact = create_engine(exported, "onnxruntime").run(batch)
    assert np.abs(create_engine(exported, "openvino").run(batch) - exact).max() <= 1e-5
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        rough = create_engine(exported, "openvino", precision="bf16").run(batch)
        assert 1e-5 < np.abs(rough - exact).max() < 0.1
    else:
        with pytest.raises(ConfigError, match="cannot compute in bfloat16"):
            create_engine(exported, "openvino", precision="bf16")


def test_openvino_has_a_stream_for_each_call_that_the_cores_can_run(exported, monkeypatch):
    """With a single one, calls of several threads wait for each other."""
    module = pytest.importorskip("ppcls.inference.engines.openvino_engine")
    monkeypatch.setattr(module, "cpu_count", lambda: 2)
    for threads, streams in ((1, 2), (2, 1), (3, 1)):
        engine = module.OpenVinoEngine(exported, threads=threads)
        with engine._requests(1).lend() as request:
            program = request.get_compiled_model()
        assert program.get_property("NUM_STREAMS") == streams


@pytest.mark.parametrize("engine", ENGINES)
def test_signals_are_handled_after_engines_are_gone(exported, engine):
    """OpenVINO's plugin left a stack for signals that was unmapped: the next one was fatal."""
    code = """
import gc, signal, sys
from ppcls.inference.engines import create_engine

first, second = (create_engine(sys.argv[1], sys.argv[2]) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""
    command = [sys.executable, "-c", code, str(exported), engine]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["handled"]), done.stderr


def test_openvino_runs_one_four_or_sixteen_images(exported):
    module = pytest.importorskip("ppcls.inference.engines.openvino_engine")
    engine = module.OpenVinoEngine(exported)
    reference = create_engine(exported, "onnxruntime")
    for count in (1, 2, 3, 4, 8, 16, 17, 21, 32):
        batch = random_batch(count)
        np.testing.assert_allclose(engine.run(batch), reference.run(batch), rtol=0, atol=1e-5)
    assert sorted(engine._pools) == [1, 4, 16]


def test_openvino_is_for_cpus(exported):
    pytest.importorskip("openvino")
    with pytest.raises(ConfigError, match="'openvino' runs on the device 'cpu'"):
        create_engine(exported, "openvino", device="gpu")


def test_a_broken_onnx_file_is_a_sentence(exported, tmp_path):
    shutil.copy(exported / "inference.yml", tmp_path)
    (tmp_path / "inference.onnx").write_bytes(b"not a graph")
    with pytest.raises(ConfigError, match=r"ONNX Runtime cannot run .*inference\.onnx"):
        create_engine(tmp_path, "onnxruntime")


class _BrokenPredictor:
    """A predictor as Paddle 3.3 makes it of a program with an interpolation."""

    def __init__(self, predictor):
        self._predictor = predictor

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def clone(self):
        return _BrokenPredictor(self._predictor.clone())

    def run(self):
        raise NotImplementedError(
            "ConvertPirAttribute2RuntimeAttribute not support [pir::ArrayAttribute]"
        )


@pytest.fixture
def break_onednn(monkeypatch):
    """A function that makes some uses of oneDNN fail at the first run."""
    from ppcls.inference.engines.paddle_engine import PaddleEngine

    create = PaddleEngine._create

    def fail(*uses):
        monkeypatch.setattr(
            PaddleEngine,
            "_create",
            lambda self: _BrokenPredictor(create(self)) if self._uses[0] in uses else create(self),
        )

    return fail


@pytest.mark.parametrize(
    ("broken", "left"),
    [
        (["oneDNN"], "oneDNN's fused operators only"),
        (["oneDNN", "oneDNN's fused operators only"], "no oneDNN"),
    ],
)
def test_programs_that_onednn_cannot_run_use_less_of_it(exported, break_onednn, broken, left, log):
    """Several threads meet the fault at once."""
    expected = create_engine(exported, "onnxruntime").run(random_batch(2))
    break_onednn(*broken)
    engine = create_engine(exported, "paddle")
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(engine.run, [random_batch(2)] * 8):
            np.testing.assert_allclose(result, expected, atol=1e-5)
    assert log.text.count("cannot run this program") == len(broken)
    assert log.text.count(f"going on with {left}") == 1


def test_other_failures_of_a_program_are_not_hidden(exported, break_onednn):
    break_onednn("oneDNN", "oneDNN's fused operators only", "no oneDNN")
    engine = create_engine(exported, "paddle")
    with pytest.raises(NotImplementedError):
        engine.run(random_batch(2))


class _Interpolating(paddle.nn.Layer):
    """A convolution, an interpolation, and class scores."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.head = paddle.nn.Linear(8, 5)

    def forward(self, x):
        size = paddle.nn.functional.interpolate(self.conv(x), scale_factor=2, mode="bilinear")
        return self.head(paddle.nn.functional.relu(size).mean(axis=[2, 3]))


def test_interpolation(tmp_path, log):
    """Paddle 3.3 cannot run it under oneDNN; every other version that we know can."""
    model = _Interpolating()
    model.eval()
    write_program(model, tmp_path, [3, 32, 32])
    engine = create_engine(tmp_path, "paddle")
    for count in (1, 3):
        batch = random_batch(count)
        expected = model(paddle.to_tensor(batch)).numpy()
        np.testing.assert_allclose(engine.run(batch), expected, atol=1e-5)
    is_broken = paddle.__version__.startswith("3.3.")
    assert log.text.count("oneDNN's fused operators only (slower)") == is_broken
