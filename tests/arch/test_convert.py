"""Published layouts into our models, and the command that converts files."""

import pickle

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.convert import from_torch_layout, linear_weights, load_published
from ppcls.arch.pretrained import RECORDS
from ppcls.arch.weights import load_weights
from ppcls.commands import main
from ppcls.errors import CheckpointError
from ppcls.utils.weight_file import read_any
from tests.arch.test_contract import TINY, build

safetensors = pytest.importorskip("safetensors.numpy")

CASES = ["DSNet", "TransXNet", "DWNet-dynamic", "VOLO", "SAN"]
cases = pytest.mark.parametrize("case", CASES)


def torch_layout(model):
    """The tensors of a model as PyTorch would name and lay them out."""
    names = {"_mean": "running_mean", "_variance": "running_var"}
    transposed, tensors = linear_weights(model), {}
    for name, tensor in model.state_dict().items():
        head, dot, last = name.rpartition(".")
        value = tensor.numpy()
        tensors[head + dot + names.get(last, last)] = value.T if name in transposed else value
    return tensors


def assert_same_tensors(model, other):
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), tensor.numpy(), name)


def another(case):
    """The case's model with other weights."""
    paddle.seed(2)
    return build_model({**TINY[case][0], "class_num": 7})


@cases
def test_torch_layout(case):
    model, other = build(case), another(case)
    report = load_published(other, torch_layout(model))
    assert report.fits
    assert len(report.loaded) == len(model.state_dict())
    assert_same_tensors(model, other)


@cases
def test_paddle_layout(case):
    model, other = build(case), another(case)
    load_published(other, {name: t.numpy() for name, t in model.state_dict().items()})
    assert_same_tensors(model, other)


def test_every_misfit_is_listed():
    model = build("SAN")
    tensors = torch_layout(model)
    gone = [name for name in tensors if name.startswith("layer3.")]
    for name in gone:
        del tensors[name]
    tensors["layer9.0.extra"] = np.ones(3, np.float32)
    tensors["fc.weight"] = tensors["fc.weight"][:, :5]
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_published(model, tensors, "published.pth")
    message = str(caught.value)
    assert message.startswith("published.pth: the tensors do not fit the model")
    for name in from_torch_layout(model, dict.fromkeys(gone, np.zeros(1))):
        assert name in message
    assert "layer9.0.extra" in message
    assert "fc.weight (model [2048, 7], file [5, 7])" in message
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_position_tables_of_another_size_are_resized():
    model = build("TransXNet")
    larger = build_model({**TINY["TransXNet"][0], "img_size": 96, "class_num": 7})
    assert load_published(larger, torch_layout(model)).fits


@pytest.fixture
def published(tmp_path):
    """A file of the DSNet case as an author might leave it: nested, wrapped, with averages."""
    model = build("DSNet")
    tensors = torch_layout(model)
    wrapped = {f"module.{name}": value for name, value in tensors.items()}
    averaged = {f"module.{name}": value / 2 for name, value in tensors.items()}
    for name in tensors:
        if name.endswith("running_mean"):
            counter = name.replace("running_mean", "num_batches_tracked")
            wrapped[f"module.{counter}"] = np.array(7)
    path = tmp_path / "best.pdparams"
    path.write_bytes(
        pickle.dumps({"epoch": 3, "model": wrapped, "model_ema": averaged}, protocol=4)
    )
    return model, path


def overrides(case):
    arguments = {**TINY[case][0], "class_num": 7}
    del arguments["name"]
    return [text for key, value in arguments.items() for text in ("-o", f"{key}={value}")]


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_command(published, suffix, tmp_path, capsys):
    model, source = published
    output = tmp_path / f"converted{suffix}"
    arguments = ["--model", "DSNet", "--source", str(source), "--output", str(output), "--check"]
    assert main("convert-weights", arguments + overrides("DSNet")) == 0
    other = another("DSNet")
    assert load_weights(other, read_any(output)).fits
    assert_same_tensors(model, other)
    printed = capsys.readouterr().out
    count = len(model.state_dict())
    assert f"matched  {count} of {count} tensors" in printed
    assert "no published hash is known" in printed
    assert "the written file gives the same logits" in printed
    assert str(output) in printed
    # The file serves as it is.
    again = build_model({**TINY["DSNet"][0], "class_num": 7, "pretrained": str(output)})
    assert_same_tensors(model, again)


def test_averaged_copy(published, tmp_path):
    model, source = published
    output = tmp_path / "averaged.pdparams"
    arguments = ["--model", "DSNet", "--source", str(source), "--output", str(output), "--ema"]
    assert main("convert-weights", arguments + overrides("DSNet")) == 0
    half = read_any(output)
    np.testing.assert_array_equal(half["head.weight"], model.head.weight.numpy() / 2)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--output", "w.onnx"], "the output is called .pdparams or .safetensors"),
        (["-o", "clas_num=7"], "Arch.clas_num: unknown key; did you mean 'class_num'?"),
        (["--source", "nowhere.pth"], "cannot read nowhere.pth"),
        (["--model", "DSNet_tniy"], "did you mean 'DSNet_tiny'?"),
    ],
)
def test_faults_are_explained(published, extra, message, tmp_path, capsys):
    _, source = published
    output = str(tmp_path / "w.pdparams")
    arguments = ["--model", "DSNet", "--source", str(source), "--output", output, *extra]
    assert main("convert-weights", arguments + overrides("DSNet")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w.pdparams").exists()


def test_a_classifier_of_another_size_is_explained(published):
    _, source = published
    with pytest.raises(CheckpointError, match="classifier is of another size"):
        build_model({**TINY["DSNet"][0], "class_num": 5, "pretrained": str(source)})
    section = {**TINY["DSNet"][0], "class_num": 5, "pretrained": str(source), "ignore_head": True}
    assert build_model(section).class_num == 5


def test_records_of_one_model_differ_by_image_size():
    assert RECORDS["VOLO_D1@384"].resize_short == 384
    assert RECORDS["VOLO_D1"].resize_short == 233
