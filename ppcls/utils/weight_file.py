"""Reading weight files without running anything that is in them.

`.pdparams` and `.pdopt` are pickles, and a pickle may name any function to call. This reader knows
the few names that arrays and plain containers need and refuses every other, so that a weight file
from elsewhere is data. It needs no Paddle. PyTorch's checkpoints: see `torch_file`.
"""

import pickle
from pathlib import Path
from typing import Any, Union

import numpy as np

from ppcls.errors import CheckpointError
from ppcls.utils.torch_file import is_torch_file, read_torch_file

PathLike = Union[str, Path]

#: (module, name) that a file may mention. Pickle protocol 2 uses Python 2's names of modules, and
#: NumPy 2 renamed `numpy.core` to `numpy._core`.
_ALLOWED = {
    ("__builtin__", "tuple"),
    ("builtins", "tuple"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in [
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        ]
    ),
}

#: What unpickling bytes that are no pickle, or half of one, may raise.
_DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)

_PARAMETER_NAMES = "StructuredToParameterName@@"
_SLICES = "UnpackBigParamInfor@@"


def find_weight_file(path: PathLike) -> Path:
    """The file that `path` names with or without its `.pdparams`; `CheckpointError` if none."""
    path = Path(path)
    for candidate in (path, path.with_name(path.name + ".pdparams")):
        if candidate.is_file():
            return candidate
    raise CheckpointError(f"there is no weight file {path} nor {path}.pdparams")


def read_tensors(path: PathLike) -> "dict[str, np.ndarray]":
    """The tensors of a `.pdparams` file by name, in the order of the file.

    bfloat16 tensors come as Paddle writes them: uint16 arrays that `set_value` understands.

    Raises:
        CheckpointError: the file is missing, damaged, names something other than arrays, or holds
            something that is not a tensor.
    """
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    for name, value in content.items():
        is_tensor = isinstance(value, np.ndarray) and not value.dtype.hasobject
        if not isinstance(name, str) or not is_tensor:
            kind = type(value).__name__
            raise CheckpointError(f"{path}: the entry {name!r} is a {kind}, not a tensor")
    return content


def read_any(path: PathLike) -> Any:
    """The content of a `.pdparams`, `.safetensors` or PyTorch file, with tensors as NumPy arrays.

    What a file is follows from how it begins, not from its name; `.safetensors` must be called so.

    Raises:
        CheckpointError: the file cannot be read, or `safetensors` is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        if is_torch_file(path):
            return read_torch_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return read_pickled(path)


def _read_safetensors(path: Path) -> "dict[str, np.ndarray]":
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise CheckpointError(
            f'{path}: reading this needs safetensors: pip install "logoclas[convert]"'
        ) from error
    try:
        return load_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or of an unknown type ({error})") from error


def read_pickled(path: PathLike) -> Any:
    """What `paddle.save` wrote to `path`: containers, numbers and texts, tensors as NumPy arrays.

    Paddle's table of parameter names is left out, tensors it cut in slices are joined.

    Raises:
        CheckpointError: the file is missing, damaged, or names something other than arrays.
    """
    try:
        with open(path, "rb") as file:
            return _plain(_join_slices(_ArrayUnpickler(file, encoding="latin1").load()))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except _ForbiddenNameError as error:
        raise CheckpointError(
            f"{path} asks for {error}, which no weight file needs; it may run code and was not "
            "loaded"
        ) from None
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged, cut short or no file written by paddle.save ({error})"
        ) from error


class _ForbiddenNameError(Exception):
    """A pickle names a function or class outside `_ALLOWED`."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenNameError(f"{module}.{name}")
        return super().find_class(_present_module(module), name)


def _present_module(module: str) -> str:
    """The name by which the installed NumPy knows a module of another NumPy generation."""
    if not module.startswith("numpy."):
        return module
    core = "_core" if int(np.__version__.partition(".")[0]) >= 2 else "core"
    return f"numpy.{core}.{module.rpartition('.')[2]}"


def _join_slices(content: Any) -> Any:
    """`content` with each tensor that pickle protocol 2 or 3 had to cut put together again."""
    if not isinstance(content, dict) or _SLICES not in content:
        return content
    content = dict(content)
    for name, info in content.pop(_SLICES).items():
        parts = [content.pop(part) for part in info["slices"]]
        content[name] = np.concatenate(parts).reshape(info["OriginShape"])
    return content


def _plain(value: Any) -> Any:
    """`value` without table of names, and with Paddle's (name, array) pairs as arrays."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != _PARAMETER_NAMES}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
        return value[1]
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value
