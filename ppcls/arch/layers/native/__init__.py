"""Native operators: C++ and CUDA sources, compiled on demand, used where they have been compiled.

Nothing is ever compiled behind the user's back: `build()` (`tools/build_kernels.py`) does it once
for a machine and a Paddle build, into the user's cache. Without it, layers use their pure-Paddle
forms, which compute the same.
"""

import functools
import hashlib
from pathlib import Path

import paddle

from ppcls.errors import UserError
from ppcls.utils.cache import cache_folder
from ppcls.utils.logger import logger
from ppcls.utils.processor import processor_features

#: The C++ and CUDA sources.
SOURCE_FOLDER = Path(__file__).parent
_NAME = "ppcls_native"
_CXX_FLAGS = ["-O3", "-march=native", "-fopenmp"]
_CUDA_FLAGS = ["-O3"]


def build(verbose: bool = False) -> Path:
    """Compiles the operators for this machine and this Paddle, on GPU builds for CUDA too.

    Returns:
        The library, in `$LOGOCLAS_HOME/native`, by default `~/.cache/logoclas/native`.

    Raises:
        UserError: the compiler failed; says where its output is, or that it is missing.
    """
    from paddle.utils import cpp_extension

    library = library_path()
    folder = library.parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    try:
        cpp_extension.load(
            name=_NAME,
            sources=[str(path) for path in _sources()],
            extra_cxx_cflags=_CXX_FLAGS,
            extra_cuda_cflags=_CUDA_FLAGS,
            build_directory=str(folder),
            verbose=verbose,
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the native operators could not be compiled in {folder}: {error}. They need a C++ "
            "compiler (g++), and nvcc for a GPU build of Paddle; everything works without them, "
            "slower. --verbose shows the compiler's output"
        ) from error
    use_built.cache_clear()
    return library


@functools.lru_cache(maxsize=1)
def use_built() -> bool:
    """Whether the native operators are there to be used; makes them known to Paddle.

    Says once where to get them when they are not.
    """
    library = library_path()
    if not library.exists():
        logger.info(
            "local_aggregation: computed with Paddle's own operators; tools/build_kernels.py "
            "compiles a native one that is many times faster"
        )
        return False
    paddle.base.core.load_op_meta_info_and_register_op(str(library))
    return True


def local_aggregation(padded: paddle.Tensor, weights: paddle.Tensor, modulo: bool) -> paddle.Tensor:
    """The native form of `ppcls.arch.layers.local_aggregation`; only where `use_built()`.

    Args:
        padded: (B, C, H + K - 1, W + K - 1); types of half precision are computed in float32.
        weights: (B, G, K * K, H, W).
        modulo: whether channel c takes its weights from group c % G, not c // (C / G).

    Returns:
        (B, C, H, W), differentiable by both tensors.
    """
    dtype = padded.dtype
    if dtype not in (paddle.float32, paddle.float64):
        padded, weights = paddle.cast(padded, "float32"), paddle.cast(weights, "float32")
    y = paddle._C_ops._run_custom_op("ppcls_local_aggregation", padded, weights, modulo)[0]
    return paddle.cast(y, dtype)


def library_path() -> Path:
    """Where the compiled operators of these sources, this Paddle and this processor belong."""
    key = hashlib.sha256()
    for path in sorted(SOURCE_FOLDER.glob("*.*")):
        if path.suffix in (".h", ".cc", ".cu"):
            key.update(path.read_bytes())
    for part in (paddle.version.commit, str(paddle.is_compiled_with_cuda()), *_CXX_FLAGS):
        key.update(part.encode())
    key.update(processor_features().encode())
    return cache_folder() / "native" / key.hexdigest()[:16] / _NAME / f"{_NAME}.so"


def _sources() -> "list[Path]":
    sources = [SOURCE_FOLDER / "local_aggregation_op.cc"]
    if paddle.is_compiled_with_cuda():
        sources.append(SOURCE_FOLDER / "local_aggregation_op.cu")
    return sources
