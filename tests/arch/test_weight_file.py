"""Reading what `paddle.save` writes, and refusing everything else."""

import collections
import os
import pickle

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.errors import CheckpointError
from ppcls.utils.weight_file import find_weight_file, read_pickled, read_tensors


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Linear(4, 2))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_state_dict_of_every_protocol(model, protocol, tmp_path):
    path = tmp_path / "model.pdparams"
    paddle.save(model.state_dict(), str(path), protocol=protocol)
    tensors = read_tensors(path)
    assert list(tensors) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())
        assert tensors[name].dtype == np.float32


def test_optimizer_state(model, tmp_path):
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(0.1, 10)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=model.parameters())
    model[2](paddle.ones([1, 4])).sum().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "model.pdopt"))
    content = read_pickled(tmp_path / "model.pdopt")
    for name, value in optimizer.state_dict().items():
        if isinstance(value, paddle.Tensor):
            np.testing.assert_array_equal(content[name], value.numpy())
    assert content["LR_Scheduler"] == optimizer.state_dict()["LR_Scheduler"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_nested_content_keeps_its_shape(protocol, tmp_path):
    content = {"model": {"w": paddle.ones([2])}, "epoch": 3, "names": ["a", "b"], "lr": [0.1, None]}
    paddle.save(content, str(tmp_path / "all.pdparams"), protocol=protocol)
    read = read_pickled(tmp_path / "all.pdparams")
    np.testing.assert_array_equal(read["model"].pop("w"), [1, 1])
    assert read == {"model": {}, "epoch": 3, "names": ["a", "b"], "lr": [0.1, None]}
    with pytest.raises(CheckpointError, match="'model' is a dict, not a tensor"):
        read_tensors(tmp_path / "all.pdparams")


def test_bfloat16_comes_as_paddle_stores_it(tmp_path):
    value = paddle.to_tensor([1.5, -2.0]).astype("bfloat16")
    paddle.save({"w": value}, str(tmp_path / "w.pdparams"))
    array = read_tensors(tmp_path / "w.pdparams")["w"]
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(paddle.to_tensor(array).astype("float32").numpy(), [1.5, -2.0])


def test_cut_tensors_are_joined(tmp_path):
    """Below pickle protocol 4 Paddle cuts tensors of more than 1 GB; this is its layout."""
    value = np.arange(12, dtype=np.float32)
    content = {
        "small": np.ones(2, np.float32),
        "big@@.0": value[:7],
        "big@@.1": value[7:],
        "UnpackBigParamInfor@@": {"big": {"OriginShape": (3, 4), "slices": ["big@@.0", "big@@.1"]}},
        "StructuredToParameterName@@": {"big": "linear_0.w_0"},
    }
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    tensors = read_tensors(tmp_path / "w.pdparams")
    assert set(tensors) == {"small", "big"}
    np.testing.assert_array_equal(tensors["big"], value.reshape(3, 4))


@pytest.mark.parametrize("written_by", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_of_either_generation(written_by, protocol, tmp_path):
    content = collections.OrderedDict(a=np.eye(2, dtype=np.float32), b=np.float64(0.5))
    raw = pickle.dumps(content, protocol=protocol)
    own = "numpy._core" if int(np.__version__.partition(".")[0]) >= 2 else "numpy.core"
    if own != written_by:
        # Protocols 4 and later write a name with its length before it.
        for module in ("multiarray", "numeric"):
            old, new = f"{own}.{module}".encode(), f"{written_by}.{module}".encode()
            raw = raw.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
            raw = raw.replace(b"c" + old + b"\n", b"c" + new + b"\n")
        raw = _without_frames(raw)
    (tmp_path / "w").write_bytes(raw)
    read = read_pickled(tmp_path / "w")
    np.testing.assert_array_equal(read["a"], np.eye(2))
    assert read["b"] == 0.5


def _without_frames(raw: bytes) -> bytes:
    """A pickle without its frame (opcode 0x95 and eight bytes), whose length would be wrong now."""
    return raw[:2] + raw[11:] if raw[2:3] == b"\x95" else raw


class _Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (_Calls(os.system, "touch hacked"), "system"),
        (_Calls(eval, "1 + 1"), "eval"),
        (_Calls(getattr, "", "join"), "getattr"),
        (_Calls(np.load, "x"), "load"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_by_name(evil, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"w": np.ones(2, np.float32), "x": evil}
    (tmp_path / "evil.pdparams").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError, match=rf"evil\.pdparams asks for .*{name}"):
        read_tensors(tmp_path / "evil.pdparams")
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pdparams"]


def test_dotted_names_do_not_reach_through_allowed_ones(tmp_path):
    raw = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__mro__\x93."
    raw = raw.replace(b"\x10ndarray", bytes([len("ndarray.__mro__")]) + b"ndarray")
    (tmp_path / "evil").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"numpy\.ndarray\.__mro__"):
        read_pickled(tmp_path / "evil")


def test_arrays_of_objects_are_no_tensors(tmp_path):
    content = {"w": np.array([{}, []], dtype=object)}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="'w' is a ndarray, not a tensor"):
        read_tensors(tmp_path / "w.pdparams")


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, -1])
def test_file_cut_short(model, keep, tmp_path):
    path = tmp_path / "model.pdparams"
    paddle.save(model.state_dict(), str(path))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"model\.pdparams is damaged"):
        read_tensors(path)


@pytest.mark.parametrize(
    "raw", [b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\x80\x04}\x94.", b"\x80\x04K\x01."]
)
def test_other_files(raw, tmp_path):
    (tmp_path / "x.pdparams").write_bytes(raw)
    if raw == b"\x80\x04}\x94.":
        assert read_tensors(tmp_path / "x.pdparams") == {}
        return
    with pytest.raises(CheckpointError, match=r"x\.pdparams"):
        read_tensors(tmp_path / "x.pdparams")


def test_missing_file_and_suffix(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*: No such file"):
        read_tensors(tmp_path / "none.pdparams")
    with pytest.raises(CheckpointError, match=r"no weight file .*none nor .*none\.pdparams"):
        find_weight_file(tmp_path / "none")
    (tmp_path / "w.1.pdparams").touch()
    assert find_weight_file(tmp_path / "w.1") == tmp_path / "w.1.pdparams"
    assert find_weight_file(tmp_path / "w.1.pdparams") == tmp_path / "w.1.pdparams"
