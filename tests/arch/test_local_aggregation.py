"""Local aggregation: values, gradients, memory, the native operator, and the exported form."""

import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch.layers import local_aggregation, local_aggregation_macs, native
from ppcls.errors import ConfigError, UserError
from tests.arch.exported import export, run_onnx, run_paddle
from tests.arch.gradients import check_gradients

rng = np.random.RandomState(0)
SOURCES = native.SOURCE_FOLDER

paddings = pytest.mark.parametrize("padding", ["zero", "reflect"])
channel_maps = pytest.mark.parametrize("channel_map", ["quotient", "modulo"])
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")


@pytest.fixture(scope="module")
def native_home(tmp_path_factory):
    """A cache folder in which the native operators have been built for this machine."""
    if not shutil.which("g++"):
        pytest.skip("there is no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGOCLAS_HOME", str(tmp_path_factory.mktemp("home")))
        library = native.build()
        assert library.exists()
        yield
    native.use_built.cache_clear()


@pytest.fixture(params=["pure", "native"])
def form(request, monkeypatch, tmp_path):
    """Both forms of the operation in eager mode."""
    if request.param == "native":
        request.getfixturevalue("native_home")
        assert native.use_built()
    else:
        monkeypatch.setattr(native, "use_built", lambda: False)
    return request.param


def direct_sum(x, weights, padding, channel_map):
    C, H, W = x.shape[1:]
    G = weights.shape[1]
    K = round(weights.shape[2] ** 0.5)
    r = K // 2
    margins = [(0, 0), (0, 0), (r, r), (r, r)]
    padded = np.pad(x, margins, mode="reflect" if padding == "reflect" else "constant")
    y = np.zeros_like(x)
    for c in range(C):
        g = c % G if channel_map == "modulo" else c // (C // G)
        for k in range(K * K):
            u, v = divmod(k, K)
            y[:, c] += weights[:, g, k] * padded[:, c, u : u + H, v : v + W]
    return y


@paddings
@channel_maps
@pytest.mark.parametrize(
    ("kernel_size", "groups", "size"), [(1, 6, (2, 3)), (3, 2, (5, 4)), (7, 3, (4, 9))]
)
def test_values(form, padding, channel_map, kernel_size, groups, size):
    x = rng.standard_normal((2, 6, *size))
    weights = rng.standard_normal((2, groups, kernel_size**2, *size))
    y = local_aggregation(paddle.to_tensor(x), paddle.to_tensor(weights), padding, channel_map)
    expected = direct_sum(x, weights, padding, channel_map)
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-12)


@paddings
@channel_maps
def test_gradients(form, padding, channel_map):
    x, weights = rng.standard_normal((2, 4, 3, 4)), rng.standard_normal((2, 2, 9, 3, 4))
    check_gradients(lambda x, w: local_aggregation(x, w, padding, channel_map), x, weights)


def test_half_precision_is_summed_in_float32(native_home):
    assert native.use_built()
    padded = paddle.to_tensor(rng.standard_normal((1, 2, 6, 6)).astype("float32"))
    weights = paddle.to_tensor(rng.standard_normal((1, 1, 9, 4, 4)).astype("float32"))
    halves = [paddle.cast(value, "bfloat16") for value in (padded, weights)]
    y = native.local_aggregation(*halves, False)
    assert y.dtype == paddle.bfloat16
    rounded = [paddle.cast(value, "float32") for value in halves]
    expected = native.local_aggregation(*rounded, False).numpy()
    np.testing.assert_allclose(paddle.cast(y, "float32").numpy(), expected, rtol=2**-8, atol=0)


def test_macs():
    assert local_aggregation_macs([2, 3, 49, 5, 6], channels=12) == 2 * 12 * 49 * 5 * 6


def test_faults_are_explained():
    x = paddle.zeros([1, 6, 3, 3])
    with pytest.raises(ConfigError, match=r"6 channels .* 4 groups and 9 neighbours"):
        local_aggregation(x, paddle.zeros([1, 4, 9, 3, 3]))
    with pytest.raises(ConfigError, match="odd number squared"):
        local_aggregation(x, paddle.zeros([1, 3, 8, 3, 3]))
    with pytest.raises(UserError, match=r"3x3 cannot be mirrored by 3 pixels.*larger images"):
        local_aggregation(x, paddle.zeros([1, 3, 49, 3, 3]), padding="reflect")


class _Layer(nn.Layer):
    """Weights from a convolution of the map, as inhomogeneous convolution has them."""

    def __init__(self, size, padding, channel_map):
        super().__init__()
        self.size, self.padding, self.channel_map = size, padding, channel_map
        self.generate = nn.Conv2D(6, 3 * 25, 1)

    def forward(self, x):
        weights = paddle.reshape(self.generate(x), [-1, 3, 25, *self.size])
        return local_aggregation(x, weights, self.padding, self.channel_map)


@paddings
@channel_maps
def test_exported_form_has_a_free_batch(padding, channel_map, tmp_path):
    paddle.seed(0)
    layer = _Layer((5, 8), padding, channel_map)
    program = export(layer, tmp_path, (6, 5, 8))
    x = rng.standard_normal((4, 6, 5, 8)).astype("float32")
    for batch in (1, 4):
        expected = layer(paddle.to_tensor(x[:batch])).numpy()
        for y in (
            run_paddle(program, x[:batch], onednn=False),
            run_paddle(program, x[:batch], onednn=True),
            run_onnx(program, x[:batch]),
        ):
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


MEMORY_PROGRAM = """
import paddle
from ppcls.arch.layers import local_aggregation

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

x = paddle.randn([4, 64, 56, 56])
w = paddle.randn([4, 1, 49, 56, 56])
x.stop_gradient = w.stop_gradient = False
local_aggregation(x[:1, :, :9, :9], w[:1, :, :, :9, :9]).sum().backward()  # warm up
x.clear_gradient(), w.clear_gradient()
before = peak()
local_aggregation(x, w).sum().backward()
print((peak() - before) / (x.size * 4))
"""


def test_training_does_not_store_the_neighbourhoods(tmp_path, repo_root):
    """In units of the map: an unfold alone would take 49."""
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM],
        cwd=repo_root,
        env={**os.environ, "LOGOCLAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(result.stdout.split()[-1]) < 16


STANDALONE = """
#include <cstdio>
#include <vector>
#include "local_aggregation_cpu.h"

// Reads B C G K H W modulo and the values of x, w and dy; writes y, dx and dw.
int main() {
  long long n[7];
  for (auto &value : n) if (std::scanf("%lld", &value) != 1) return 1;
  ppcls::AggregationShape s{n[0], n[1], n[2], n[3], n[4], n[5], n[6] != 0};
  std::vector<double> x(s.B * s.C * s.padded_height() * s.padded_width());
  std::vector<double> w(s.B * s.G * s.K * s.K * s.H * s.W), y(s.B * s.C * s.H * s.W);
  std::vector<double> dy(y.size()), dx(x.size()), dw(w.size());
  for (auto *array : {&x, &w, &dy})
    for (auto &value : *array) if (std::scanf("%lf", &value) != 1) return 1;
  ppcls::aggregate_cpu(s, x.data(), w.data(), y.data());
  ppcls::aggregate_gradient_cpu(s, x.data(), w.data(), dy.data(), dx.data(), dw.data());
  for (auto *array : {&y, &dx, &dw})
    for (double value : *array) std::printf("%.17g\\n", value);
  // What a GPU thread computes for one value.
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t i = 0; i < s.H; ++i)
        for (int64_t j = 0; j < s.W; ++j)
          std::printf("%.17g\\n", ppcls::aggregate_at(s, x.data(), w.data(), b, c, i, j));
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t p = 0; p < s.padded_height(); ++p)
        for (int64_t q = 0; q < s.padded_width(); ++q)
          std::printf("%.17g\\n", ppcls::input_gradient_at(s, w.data(), dy.data(), b, c, p, q));
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t g = 0; g < s.G; ++g)
      for (int64_t k = 0; k < s.K * s.K; ++k)
        for (int64_t i = 0; i < s.H; ++i)
          for (int64_t j = 0; j < s.W; ++j)
            std::printf("%.17g\\n",
                        ppcls::weight_gradient_at(s, x.data(), dy.data(), b, g, k, i, j));
}
"""


@needs_compiler
@pytest.mark.parametrize("modulo", [0, 1])
def test_arithmetic_without_paddle(modulo, tmp_path):
    """The headers alone: rows (CPU) and single values (GPU) against a direct sum."""
    (tmp_path / "main.cc").write_text(STANDALONE)
    subprocess.run(
        ["g++", "-std=c++17", "-O2", "-fopenmp", f"-I{SOURCES}", "main.cc", "-o", "main"],
        cwd=tmp_path,
        check=True,
    )
    B, C, G, K, H, W = 2, 6, 3, 3, 4, 5
    x, dy = rng.standard_normal((B, C, H + 2, W + 2)), rng.standard_normal((B, C, H, W))
    w = rng.standard_normal((B, G, K * K, H, W))
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for c in range(C):
        g = c % G if modulo else c // (C // G)
        for k in range(K * K):
            u, v = divmod(k, K)
            window = (slice(None), c, slice(u, u + H), slice(v, v + W))
            y[:, c] += w[:, g, k] * x[window]
            dx[window] += w[:, g, k] * dy[:, c]
            dw[:, g, k] += dy[:, c] * x[window]
    numbers = [f"{B} {C} {G} {K} {H} {W} {modulo}"]
    numbers += [f"{value:.17g}" for array in (x, w, dy) for value in array.ravel()]
    result = subprocess.run(
        ["./main"],
        cwd=tmp_path,
        input="\n".join(numbers),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = np.concatenate([array.ravel() for array in (y, dx, dw, y, dx, dw)])
    np.testing.assert_allclose(np.array(result.stdout.split(), float), expected, atol=1e-12)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="there is no CUDA compiler")
def test_cuda_source_compiles(tmp_path):
    (tmp_path / "main.cu").write_text(
        '#include "local_aggregation_cuda.h"\n'
        "template void ppcls::aggregate_cuda<float>(const AggregationShape &, const float *,\n"
        "    const float *, float *, cudaStream_t);\n"
        "template void ppcls::aggregate_gradient_cuda<float>(const AggregationShape &,\n"
        "    const float *, const float *, const float *, float *, float *, cudaStream_t);\n"
    )
    subprocess.run(
        ["nvcc", "-std=c++17", f"-I{SOURCES}", "-c", "main.cu", "-o", "main.o"],
        cwd=tmp_path,
        check=True,
    )
