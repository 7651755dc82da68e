"""Time and memory of the two dynamic primitives beside their naive unfold forms.

    python benchmarks/primitives.py [--shape 8 64 56 56] [--kernel-size 7] [--groups 8]

One training pass each (forward and backward), in ratios to the naive form of the same run. Every
form runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

FORMS = {
    "dynamic_depthwise_conv2d": ["naive", "ours"],
    "local_aggregation": ["naive", "pure", "native"],
}
_REPEATS = 5


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def build_case(
    primitive: str, form: str, shape: "list[int]", kernel_size: int, groups: int
) -> "tuple[list, Callable]":
    """Random inputs, and the function of them that is measured."""
    import paddle
    import paddle.nn.functional as F

    from ppcls.arch.layers import dynamic_depthwise_conv2d, local_aggregation, native

    B, C, H, W = shape
    K = kernel_size
    x = paddle.randn(shape)
    if primitive == "dynamic_depthwise_conv2d":
        groups, weights = C, paddle.randn([B, C, K, K])
        weights_shape = [B, C, 1, K * K, 1]
    else:
        weights = paddle.randn([B, groups, K * K, H, W])
        weights_shape = [B, groups, 1, K * K, H * W]

    def naive(x: paddle.Tensor, weights: paddle.Tensor) -> paddle.Tensor:
        windows = F.unfold(x, K, paddings=K // 2)
        windows = paddle.reshape(windows, [B, groups, C // groups, K * K, H * W])
        products = windows * paddle.reshape(weights, weights_shape)
        return paddle.reshape(paddle.sum(products, axis=3), [B, C, H, W])

    if form == "naive":
        return [x, weights], naive
    if primitive == "dynamic_depthwise_conv2d":
        return [x, weights], dynamic_depthwise_conv2d
    if form == "native" and not native.use_built():
        sys.exit("the native operator is not built: run tools/build_kernels.py")
    if form == "pure":
        native.use_built = lambda: False
    return [x, weights], local_aggregation


def measure(
    primitive: str, form: str, shape: "list[int]", kernel_size: int, groups: int
) -> "dict[str, float]":
    """Milliseconds of the forward pass and of forward and backward, MiB on top of the inputs."""
    import paddle

    paddle.seed(0)
    inputs, function = build_case(primitive, form, shape, kernel_size, groups)
    for tensor in inputs:
        tensor.stop_gradient = False

    def train() -> None:
        for tensor in inputs:
            tensor.clear_gradient()
        paddle.sum(function(*inputs)).backward()

    before = peak_bytes()
    train()
    memory = peak_bytes() - before

    def best_ms(step: "Callable[[], object]") -> float:
        times = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        return 1000 * min(times)

    return {
        "forward": best_ms(lambda: function(*inputs)),
        "both": best_ms(train),
        "memory": memory / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=4, default=[8, 64, 56, 56], metavar="N")
    parser.add_argument("--kernel-size", type=int, default=7)
    parser.add_argument("--groups", type=int, default=8, help="of local_aggregation's weights")
    parser.add_argument("--one", nargs=2, metavar=("PRIMITIVE", "FORM"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    case = (arguments.shape, arguments.kernel_size, arguments.groups)
    if arguments.one:
        print(json.dumps(measure(*arguments.one, *case)))
        return
    print(f"map {arguments.shape}, K = {arguments.kernel_size}, {arguments.groups} groups")
    print(f"{'':34}{'forward ms':>12}{'fwd+bwd ms':>12}{'peak MiB':>10}{'speed':>8}{'memory':>8}")
    for primitive, forms in FORMS.items():
        naive = None
        for form in forms:
            command = [sys.executable, *sys.argv, "--one", primitive, form]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            figures = json.loads(result.stdout.splitlines()[-1])
            naive = naive or figures
            print(
                f"{primitive + ' ' + form:34}{figures['forward']:12.0f}{figures['both']:12.0f}"
                f"{figures['memory']:10.0f}{naive['both'] / figures['both']:7.1f}x"
                f"{figures['memory'] / naive['memory']:7.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
