"""How much memory a run has needed."""

import sys

import paddle


def peak_memory_mib(device: str) -> float:
    """The most memory so far, in MiB: of the GPU, or else of this process (0 if not known)."""
    if device == "gpu":
        return paddle.device.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
