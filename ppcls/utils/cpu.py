"""Settings of the processor's libraries that make Paddle faster, chosen at start-up.

A setting that the user has made, in the environment, is never touched.
"""

import os
from typing import Optional

from ppcls.utils.processor import read_cpuinfo

#: Which code path Intel MKL takes on processors that are not Intel's; read at its first use.
MKL_VARIABLE = "MKL_DEBUG_CPU_TYPE"
STRIDE_FLAG = "FLAGS_use_stride_kernel"
_AVX2, _AVX512 = "5", "7"


def choose_mkl_path(cpuinfo: str) -> Optional[str]:
    """The value of `MKL_DEBUG_CPU_TYPE` for a processor, None where MKL chooses well itself.

    The MKL inside Paddle runs its slowest code on AMD processors, whatever they can do: told
    otherwise, its matrix products were 2.6 (AVX2) to 5 times (AVX-512) faster.

    Args:
        cpuinfo: the text of Linux's `/proc/cpuinfo`.
    """
    fields = dict(
        (part.strip() for part in line.split(":", 1))
        for line in cpuinfo.splitlines()
        if ":" in line
    )
    abilities = fields.get("flags", "").split()
    if fields.get("vendor_id") != "AuthenticAMD":
        return None
    if "avx512f" in abilities:
        return _AVX512
    return _AVX2 if "avx2" in abilities else None


def choose_libraries() -> None:
    """Sets `MKL_DEBUG_CPU_TYPE` where it helps; to be called before Paddle is imported."""
    value = choose_mkl_path(read_cpuinfo())
    if value is not None:
        os.environ.setdefault(MKL_VARIABLE, value)


def use_fast_kernels() -> None:
    """Makes Paddle copy where its eager mode would make views (slices, transposes) of tensors.

    Its kernels run up to ten times slower on views on CPUs: forward passes of VOLO and Swin take
    half or a third of the time without.
    """
    import paddle

    if STRIDE_FLAG not in os.environ:
        paddle.set_flags({STRIDE_FLAG: False})


def describe_settings() -> str:
    """What is set, for the log: `MKL_DEBUG_CPU_TYPE=7, FLAGS_use_stride_kernel=0`."""
    import paddle

    settings = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        MKL_VARIABLE: os.environ.get(MKL_VARIABLE),
        STRIDE_FLAG: int(paddle.get_flags(STRIDE_FLAG)[STRIDE_FLAG]),
    }
    return ", ".join(f"{name}={value}" for name, value in settings.items() if value is not None)
