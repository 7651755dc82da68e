"""Settings for the processor's libraries."""

import os
import subprocess
import sys

import pytest

from ppcls.utils.cpu import choose_mkl_path

CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
model name\t: A processor: with a colon
flags\t\t: fpu sse2 {flags}

processor\t: 1
vendor_id\t: {vendor}
flags\t\t: fpu sse2 {flags}
"""


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512vl", "7"),
        ("AuthenticAMD", "avx2", "5"),
        ("AuthenticAMD", "avx", None),
        ("GenuineIntel", "avx2 avx512f", None),
    ],
)
def test_mkl_is_told_of_amd_processors_only(vendor: str, flags: str, expected: str) -> None:
    assert choose_mkl_path(CPUINFO.format(vendor=vendor, flags=flags)) == expected


def test_text_without_processors_chooses_nothing() -> None:
    assert choose_mkl_path("") is None


@pytest.mark.parametrize("user_value", [None, "1"])
def test_environment_copies_views_unless_the_user_says_otherwise(user_value: str) -> None:
    code = (
        "import paddle\n"
        "from ppcls.engine.environment import prepare_environment\n"
        "prepare_environment('cpu')\n"
        "x = paddle.rand([4, 4])\n"
        "print(paddle.transpose(x, [1, 0]).is_contiguous())\n"
    )
    environment = dict(os.environ)
    environment.pop("FLAGS_use_stride_kernel", None)
    if user_value:
        environment["FLAGS_use_stride_kernel"] = user_value
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert shown.stdout.split()[-1] == str(user_value is None)
