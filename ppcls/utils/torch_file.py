"""Reading the checkpoints that `torch.save` writes, without PyTorch and without running anything.

Both layouts are read: the zip archive (PyTorch 1.6 and later: `<name>/data.pkl` and one raw file
for each storage under `<name>/data/`) and the older stream (five pickles, then the storages). Names
in the pickle that are neither tensors nor plain containers become `Foreign` objects that do
nothing; names that only serve to run code are refused.
"""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np

from ppcls.errors import CheckpointError

PathLike = Union[str, Path]

#: First pickle of the older layout.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

#: Storage class or dtype of PyTorch -> type of its values as they lie in the file.
_DTYPES = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": "<u2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}
_CONTAINERS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    *(("builtins", name) for name in ("dict", "list", "tuple", "set", "int", "float", "str")),
    *(("__builtin__", name) for name in ("dict", "list", "tuple", "set", "int", "float", "str")),
}
#: Modules from which a checkpoint can only want to run code.
_DANGEROUS = {
    *("os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "ctypes", "importlib"),
    *("runpy", "pty", "pickle", "marshal", "code", "codeop", "webbrowser", "platform"),
    *("builtins", "__builtin__"),
}


class Foreign:
    """Stands for an object of a class that is not loaded (settings, schedulers, ...)."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Items of foreign containers are dropped."""

    def extend(self, items: object) -> None:
        """Items of foreign containers are dropped."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


def is_torch_file(path: PathLike) -> bool:
    """Whether a file begins like one that `torch.save` wrote."""
    with open(path, "rb") as file:
        if file.read(4) == b"PK\x03\x04":
            return True
        file.seek(0)
        return _begins_with_magic(file)


def read_torch_file(path: PathLike) -> Any:
    """The saved object, with tensors as NumPy arrays; bfloat16 is widened to float32.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or wants to run code.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_archive(path)
        with open(path, "rb") as file:
            if not _begins_with_magic(file):
                raise CheckpointError(f"{path} is damaged, cut short or no file of torch.save")
            return _read_stream(file)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except _DangerousNameError as error:
        raise CheckpointError(
            f"{path} asks for {error}, which no weight file needs; it may run code and was not "
            "loaded"
        ) from None
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        struct.error,
        AttributeError,
        EOFError,
        ImportError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            f"{path} is damaged, cut short or no file of torch.save ({error})"
        ) from error


class _DangerousNameError(Exception):
    """A pickle names something that only serves to run code."""


class _Storage:
    """The values behind one or more tensors; filled when the file's end has been read."""

    def __init__(self, kind: str, count: int):
        self.kind = kind
        self.values = np.zeros(0, _DTYPES[kind])
        self.count = count

    def fill(self, content: bytes) -> None:
        self.values = np.frombuffer(content, self.values.dtype, count=self.count)


class _Tensor:
    """A tensor whose storage may not have been read yet."""

    def __init__(
        self, storage: _Storage, offset: int, size: "tuple[int, ...]", stride: "tuple[int, ...]"
    ):
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def to_numpy(self) -> np.ndarray:
        values = self.storage.values
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride))
        is_empty = 0 in self.size
        inside = self.offset >= 0 and min(self.stride, default=0) >= 0 and last < values.size
        if len(self.size) != len(self.stride) or not (is_empty or inside):
            raise ValueError("a tensor reaches beyond its storage")
        if is_empty:
            array = np.zeros(self.size, values.dtype)
        else:
            strides = [step * values.itemsize for step in self.stride]
            array = np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides)
        if self.storage.kind == "BFloat16":
            return (array.astype("<u4") << 16).view("<f4")
        return np.array(array, order="C")


def _rebuild_tensor(
    storage: _Storage, offset: int, size: "tuple[int, ...]", stride: "tuple[int, ...]", *_: object
) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(size), tuple(stride))


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_TORCH_NAMES = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **{("torch", f"{kind}Storage"): kind for kind in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Knows tensors and containers; a storage comes from `storages`, made on first mention."""

    def __init__(self, file: BinaryIO, storages: "dict[str, _Storage]"):
        super().__init__(file, encoding="latin1")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TORCH_NAMES:
            return _TORCH_NAMES[module, name]
        if (module, name) in _CONTAINERS:
            return super().find_class(module, name)
        if module.partition(".")[0] in _DANGEROUS:
            raise _DangerousNameError(f"{module}.{name}")
        return type(name, (Foreign,), {"__module__": module})

    def persistent_load(self, pid: Any) -> _Storage:
        kind, key, count = pid[1], str(pid[2]), int(pid[4])
        if pid[0] != "storage" or kind not in _DTYPES or (len(pid) > 5 and pid[5] is not None):
            raise pickle.UnpicklingError(f"unknown storage {pid[:2]}")
        return self._storages.setdefault(key, _Storage(kind, count))


def _read_archive(path: PathLike) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in the archive")
        folder = pickles[0][: -len("data.pkl")]
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its values are big-endian")
        storages: dict[str, _Storage] = {}
        with archive.open(pickles[0]) as file:
            content = _Unpickler(file, storages).load()
        for key, storage in storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return _with_arrays(content)


def _read_stream(file: BinaryIO) -> Any:
    storages: dict[str, _Storage] = {}
    file.seek(0)
    _, protocol, system, content, keys = (_Unpickler(file, storages).load() for _ in range(5))
    if protocol != _PROTOCOL or not system.get("little_endian", True):
        raise ValueError("an unknown version of the layout")
    for key in keys:
        storage = storages[str(key)]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError("a storage of another length than announced")
        storage.fill(file.read(count * storage.values.itemsize))
    return _with_arrays(content)


def _begins_with_magic(file: BinaryIO) -> bool:
    """Whether the next pickle is the magic number; leaves the file at its beginning."""
    expected = pickle.dumps(_MAGIC, protocol=2)
    beginning = file.read(len(expected))
    file.seek(0)
    return beginning == expected


def _with_arrays(value: Any) -> Any:
    """`value` with every `_Tensor` as an array."""
    if isinstance(value, _Tensor):
        return value.to_numpy()
    if isinstance(value, dict):
        return {key: _with_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_arrays(item) for item in value)
    return value
