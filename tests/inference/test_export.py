"""An export is the model or nothing."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls.engine.exporter import TOLERANCE, export_model
from ppcls.errors import ConfigError, ExportError
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import Description
from tests.inference.small_model import ENGINES, LABELS, TRANSFORMS, new_description, run_script


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def probabilities(model, batch):
    with paddle.no_grad():
        return paddle.nn.functional.softmax(model(paddle.to_tensor(batch)), axis=-1).numpy()


def random_batch(count, seed=5):
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def test_files_and_report(exported):
    assert sorted(contents(exported)) == [
        "export_report.json",
        "inference.json",
        "inference.onnx",
        "inference.pdiparams",
        "inference.yml",
    ]
    report = json.loads((exported / "export_report.json").read_text())
    assert {"paddle", "onnxruntime"} <= set(report["max_relative_error"])
    assert all(error <= TOLERANCE for error in report["max_relative_error"].values())
    for name, facts in report["files"].items():
        content = (exported / name).read_bytes()
        assert facts == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_description_round_trip(exported, tmp_path):
    description = Description.read(exported)
    assert description.transform_ops == TRANSFORMS
    assert description.image_shape == [3, 32, 32]
    assert description.postprocess == {"name": "Topk", "topk": 3}
    assert description.label_names == LABELS
    description.write(tmp_path)
    assert Description.read(tmp_path) == description


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_equal_the_model_at_any_batch_size(model, exported, engine):
    engine = create_engine(exported, engine)
    for count in (1, 3, 8, 1):
        batch = random_batch(count)
        expected = probabilities(model, batch)
        actual = engine.run(batch)
        assert actual.shape == (count, 10)
        assert np.abs(actual - expected).max() / np.abs(expected).max() <= 1e-4


def test_logits(model, tmp_path):
    export_model(model, tmp_path / "logits", new_description(output="logits"))
    batch = random_batch(2)
    with paddle.no_grad():
        expected = model(paddle.to_tensor(batch)).numpy()
    actual = create_engine(tmp_path / "logits", "paddle").run(batch)
    assert np.abs(actual - expected).max() / np.abs(expected).max() <= 1e-4
    assert not np.allclose(expected.sum(axis=1), 1)


def test_export_leaves_the_model_as_it_was(model, tmp_path):
    batch = random_batch(2)
    before = probabilities(model, batch)
    model.train()
    export_model(model, tmp_path / "out", new_description())
    assert model.training
    model.eval()
    np.testing.assert_array_equal(probabilities(model, batch), before)


class Unfaithful(paddle.nn.Layer):
    """Counts its calls in Python, which a traced program cannot follow."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3 * 32 * 32, 10)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.linear(paddle.flatten(images, 1)) * float(self.calls % 7 + 1)


class Noisy(paddle.nn.Layer):
    """Random also in evaluation."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3 * 32 * 32, 10)

    def forward(self, images):
        logits = self.linear(paddle.flatten(images, 1))
        return logits + paddle.rand([10])


class NotFinite(paddle.nn.Layer):
    """Divides zero by zero."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3 * 32 * 32, 10)

    def forward(self, images):
        logits = self.linear(paddle.flatten(images, 1)) * 0
        return paddle.divide(logits, logits)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Unfaithful, "not the model: paddle differs"),
        (Noisy, "not the model: paddle differs"),
        (NotFinite, "the model itself gives NaN or infinity for 1 of 1 random images"),
    ],
)
def test_an_unfaithful_export_changes_nothing(model, tmp_path, layer, message):
    folder = tmp_path / "inference"
    export_model(model, folder, new_description())
    before = contents(folder)
    with pytest.raises(ExportError, match=message):
        export_model(layer(), folder, new_description())
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["inference"]


class NotFiniteSometimes(paddle.nn.Layer):
    """The root of a mean, which is negative for some images."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3, 10)

    def forward(self, images):
        return self.linear(paddle.sqrt(paddle.mean(images, axis=[2, 3]) + 0.001))


def test_noise_that_the_model_has_no_numbers_for(tmp_path):
    layer = NotFiniteSometimes()
    report = export_model(layer, tmp_path / "inference", new_description())
    assert report.errors["paddle"] <= TOLERANCE
    dark = np.full((4, 3, 32, 32), -1, dtype=np.float32)
    dark[:2] = 1
    with pytest.raises(ExportError, match=r"2 of 4 real images \(the first is number 2\)"):
        export_model(layer, tmp_path / "other", new_description(), images=dark)


class NotFiniteInBatches(paddle.nn.Layer):
    """Gives infinity for three images when it is exported, and for no other number."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(3, 10)

    def forward(self, images):
        logits = self.linear(paddle.mean(images, axis=[2, 3]))
        if paddle.in_dynamic_mode():
            return logits
        ones = paddle.sum(paddle.ones_like(images[:, 0, 0, 0]))
        return logits / paddle.abs(ones - 3) * paddle.abs(ones - 3)


def test_not_a_number_in_the_midst_is_a_difference(tmp_path):
    """Batches of 1 come before and after that of 3 random images."""
    images = np.zeros((2, 3, 32, 32), dtype=np.float32)
    with pytest.raises(ExportError, match=r"paddle differs by nan .*random images, batch 3"):
        export_model(NotFiniteInBatches(), tmp_path / "out", new_description(), images=images)


def test_an_unfaithful_first_export_leaves_no_folder(tmp_path):
    with pytest.raises(ExportError):
        export_model(Unfaithful(), tmp_path / "inference", new_description())
    assert list(tmp_path.iterdir()) == []


def test_another_model_replaces_every_file_of_the_older(exported, tmp_path):
    folder = tmp_path / "inference"
    folder.mkdir()
    for name, content in contents(exported).items():
        (folder / name).write_bytes(content)
    paddle.seed(3)
    other = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(3 * 32 * 32, 10))
    export_model(other, folder, new_description())
    assert not (folder / "inference.onnx").exists()
    batch = random_batch(2)
    other.eval()
    np.testing.assert_allclose(
        create_engine(folder).run(batch), probabilities(other, batch), atol=1e-5
    )


def test_other_output_of_the_same_weights_replaces_every_file(model, tmp_path):
    folder = tmp_path / "inference"
    export_model(model, folder, new_description(), formats=("pir", "onnx"))
    export_model(model, folder, new_description(output="logits"))
    # It ends in a softmax, which inference.yml now denies.
    assert not (folder / "inference.onnx").exists()


def test_formats_are_checked_before_anything_is_written(model, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown export format 'onyx'.*onnx"):
        export_model(model, tmp_path / "out", new_description(), formats=("onyx",))
    with pytest.raises(ConfigError, match="two runs"):
        export_model(model, tmp_path / "out", new_description(), formats=("pir", "legacy"))
    with pytest.raises(ConfigError, match="FLAGS_enable_pir_api=0"):
        export_model(model, tmp_path / "out", new_description(), formats=("legacy",))
    assert list(tmp_path.iterdir()) == []


def test_legacy_export_by_command(model, training_config, tmp_path):
    folder = tmp_path / "legacy"
    done = run_script(
        "tools/export_model.py",
        *("-c", training_config),
        *("-o", f"Global.save_inference_dir={folder}"),
        *("--format", "legacy"),
    )
    assert done.returncode == 0, done.stderr
    assert {"inference.pdmodel", "inference.pdiparams", "inference.yml"} <= set(contents(folder))
    assert not (folder / "inference.json").exists()
    batch = random_batch(3)
    expected = probabilities(model, batch)
    actual = run_elsewhere(folder, batch, tmp_path)
    assert np.abs(actual - expected).max() / np.abs(expected).max() <= 1e-4
    description = Description.read(folder)
    assert description.label_names == LABELS
    assert description.postprocess == {"name": "Topk", "topk": 3}
    # The other format replaces it: they cannot share inference.pdiparams.
    export_model(model, folder, new_description())
    assert "inference.json" in contents(folder)
    assert "inference.pdmodel" not in contents(folder)
    actual = run_elsewhere(folder, batch, tmp_path)
    assert np.abs(actual - expected).max() / np.abs(expected).max() <= 1e-4


def run_elsewhere(folder, batch, tmp_path):
    """The Paddle engine's output from a process of its own, as in a deployment."""
    np.save(tmp_path / "batch.npy", batch)
    code = (
        "import sys, numpy as np; from ppcls.inference.engines import create_engine\n"
        "folder, tmp = sys.argv[1:]\n"
        "result = create_engine(folder, 'paddle').run(np.load(tmp + '/batch.npy'))\n"
        "np.save(tmp + '/result.npy', result)"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "result.npy")
