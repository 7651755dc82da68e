"""A C++ library for the hottest loops of preprocessing, compiled on demand; see `resample.cc`.

Nothing is compiled behind the user's back: `build()` (`tools/build_kernels.py`) does it once for a
machine, into the user's cache. Without it Pillow computes the same, several times slower. It has
nothing to do with Paddle, which this package does not need.
"""

import ctypes
import functools
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Optional

from ppcls.errors import UserError
from ppcls.utils.cache import cache_folder
from ppcls.utils.processor import processor_features

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "resample.cc"
_NAME = "ppcls_resample"
# No fused multiply-add: weights must be rounded as Pillow rounds them.
_FLAGS = ["-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]


def library_path() -> Path:
    """Where the library of this source and this processor belongs."""
    key = hashlib.sha256(_SOURCE.read_bytes() + (_FOLDER / "lanes.h").read_bytes())
    key.update(" ".join(_FLAGS).encode())
    key.update(processor_features().encode())
    return cache_folder() / "native" / key.hexdigest()[:16] / f"{_NAME}.so"


def build(verbose: bool = False) -> Path:
    """Compiles the library with `$CXX`, by default g++, and returns its path.

    Raises:
        UserError: there is no compiler, or it failed.
    """
    library = library_path()
    library.parent.mkdir(parents=True, exist_ok=True)
    unfinished = library.with_name(f"{_NAME}.{os.getpid()}.so")
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(unfinished)]
    if verbose:
        print(" ".join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(
            f"the compiler '{compiler}' cannot be run ({error.strerror}); install g++ or name a "
            "compiler in CXX. Everything works without the native library, slower"
        ) from error
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{compiler} could not compile {_SOURCE}:\n{done.stderr.strip()}")
    os.replace(unfinished, library)
    load.cache_clear()
    return library


@functools.lru_cache(maxsize=1)
def load() -> Optional[ctypes.CDLL]:
    """The library, if it has been built."""
    try:
        library = ctypes.CDLL(str(library_path()))
    except OSError:
        return None
    integer = ctypes.c_int
    library.ppcls_resample.restype = None
    library.ppcls_resample.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, integer, integer),  # image
        *(integer, integer, integer, integer),  # filter, columns_first, size of the result
        *(integer, integer, integer, integer),  # left, top, width, height
        *(integer, ctypes.c_void_p),  # swap, bytes
        *(ctypes.c_float, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),  # planes
    ]
    return library
