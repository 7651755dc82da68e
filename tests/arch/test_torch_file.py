"""Reading PyTorch checkpoints: real files of both layouts, damage, and files that want to run code.

`data/torch_zip.pth` and `data/torch_stream.pth` were written by `torch.save` (PyTorch 2.13) from
one dictionary, the latter with `_use_new_zipfile_serialization=False`.
"""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ppcls.arch.convert import find_copies, read_published
from ppcls.errors import CheckpointError
from ppcls.utils import torch_file
from ppcls.utils.torch_file import Foreign, is_torch_file, read_torch_file

FILES = [Path(__file__).parent / "data" / f"torch_{layout}.pth" for layout in ("zip", "stream")]

files = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@files
def test_every_kind_of_tensor(path):
    content = read_torch_file(path)
    extra = content["extra"]
    expected = {
        "half": np.array([1.5, -2.0], np.float16),
        "transposed": np.arange(24, dtype=np.float32).reshape(4, 6).T,
        "shared_a": np.arange(2, 8, dtype=np.float32),
        "shared_b": np.arange(4, 10, dtype=np.float32).reshape(2, 3),
        "long": np.array([2**40]),
        "bool": np.array([True, False]),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    for name, value in expected.items():
        assert extra[name].dtype == value.dtype, name
        np.testing.assert_array_equal(extra[name], value, err_msg=name)
    np.testing.assert_allclose(extra["bf16"], [1.5, -2.25, 3e38], rtol=2**-8)
    assert extra["bf16"].dtype == np.float32
    np.testing.assert_array_equal(content["param"], [1, 1])
    assert (content["epoch"], content["arch"], content["size"]) == (7, "tiny", (1, 2))


@files
def test_foreign_objects_are_inert(path):
    content = read_torch_file(path)
    assert isinstance(content["args"], Foreign)
    assert not hasattr(content["args"], "lr")


@files
def test_copies_and_prefixes(path):
    copies = find_copies(read_torch_file(path))
    assert list(copies) == ["state_dict", "state_dict_ema"]
    plain, averaged = read_published(path), read_published(path, ema=True)
    names = [f"{i}.{part}" for i in (0, 1) for part in ("weight", "bias")]
    names += ["1.running_mean", "1.running_var", "2.weight", "2.bias"]
    assert list(plain) == names
    for name in names:
        np.testing.assert_array_equal(averaged[name], 2 * plain[name])


def test_a_missing_copy_is_explained(tmp_path):
    path = tmp_path / "plain.pdparams"
    path.write_bytes(pickle.dumps({"w": np.ones(2, np.float32)}, protocol=4))
    with pytest.raises(CheckpointError, match=r"no averaged \(EMA\) weights .*at the top"):
        read_published(path, ema=True)


@files
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_cut_files_are_refused(path, keep, tmp_path):
    content = path.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match=r"cut\.pth is damaged"):
        read_torch_file(cut)


def test_other_files_are_not_taken_for_torch(tmp_path):
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps({"w": np.ones(2)}))
    assert not is_torch_file(path)
    with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
        read_torch_file(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_torch_file(tmp_path / "absent.pth")


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _archive(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("function", ["os.system", "eval", "getattr", "os.putenv"])
def test_code_is_never_run(function, tmp_path):
    trace = tmp_path / "trace"
    call = {
        "os.system": _Call(os.system, f"touch {trace}"),
        "eval": _Call(eval, f"open({str(trace)!r}, 'w')"),
        "getattr": _Call(getattr, "text", "upper"),
        "os.putenv": _Call(os.putenv, "PPCLS_TRACE", "1"),
    }[function]
    path = tmp_path / "evil.pth"
    _archive(path, {"state_dict": {"w": call}})
    with pytest.raises(CheckpointError, match=r"may run code and was not loaded"):
        read_torch_file(path)
    assert not trace.exists()


def test_short_storages_are_refused(tmp_path):
    path = tmp_path / "short.pth"
    with zipfile.ZipFile(FILES[0]) as whole, zipfile.ZipFile(path, "w") as archive:
        for name in whole.namelist():
            data = whole.read(name)
            archive.writestr(name, data[:-1] if "/data/" in name else data)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (7,), (1,)), (3, (2, 2), (2, 2)), (-1, (2,), (1,)), (5, (3,), (-1,)), (0, (2, 2), (1,))],
)
def test_tensors_cannot_reach_beyond_their_storage(offset, size, stride):
    storage = torch_file._Storage("Float", 6)
    storage.fill(np.arange(6, dtype=np.float32).tobytes())
    with pytest.raises(ValueError, match="beyond its storage"):
        torch_file._Tensor(storage, offset, size, stride).to_numpy()
