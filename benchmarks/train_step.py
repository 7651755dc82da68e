"""Processor seconds of one training step: ours, beside the package `paddleclas`'s own model.

    python benchmarks/train_step.py
    python benchmarks/train_step.py TransXNet_T DSNet_tiny --paddleclas DSNet_tiny --to-static

A step is the forward pass, the loss, the backward pass and AdamW, in eager mode. Each model lives
in a process of its own, started as its users start it: ours with the settings that `tools/train.py`
chooses (`ppcls.utils.cpu`), paddleclas's with Paddle's own. The processes take their steps in
turns, so that the ratio holds on a machine with other work.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

FORWARD, BACKWARD, UPDATE = "forward", "backward", "optimizer"
PARTS = (FORWARD, BACKWARD, UPDATE)
CLASSES = 1000


def serve_steps(model_name: str, kind: str, batch: int, size: int) -> None:
    """The child: takes a step for every line that it reads, and prints the seconds of its parts."""
    if kind == "paddleclas":
        import paddle

        from ppcls.arch import paddleclas_zoo

        paddle.seed(0)
        model = paddleclas_zoo.find(model_name)(class_num=CLASSES)
    else:
        from ppcls.utils.cpu import choose_libraries, use_fast_kernels

        choose_libraries()
        import paddle

        from ppcls.arch import build_model

        use_fast_kernels()
        paddle.seed(0)
        model = build_model({"name": model_name, "class_num": CLASSES})
        if kind == "to_static":
            model = paddle.jit.to_static(model, full_graph=True)
    model.train()
    optimizer = paddle.optimizer.AdamW(
        learning_rate=1e-3, parameters=model.parameters(), weight_decay=0.05
    )
    images = paddle.randn([batch, 3, size, size])
    labels = paddle.randint(0, CLASSES, [batch])
    for _ in sys.stdin:
        times = [time.process_time()]
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        times.append(time.process_time())
        loss.backward()
        times.append(time.process_time())
        optimizer.step()
        optimizer.clear_grad()
        times.append(time.process_time())
        print("seconds", *(end - start for start, end in zip(times, times[1:])), flush=True)


def start(model_name: str, kind: str, batch: int, size: int) -> subprocess.Popen:
    """A child process that takes steps."""
    command = [sys.executable, __file__, model_name, "--child", kind]
    command += ["--batch", str(batch), "--size", str(size)]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def take_step(child: subprocess.Popen) -> "list[float]":
    """Processor seconds of forward pass, backward pass and optimizer.

    Raises:
        RuntimeError: the child ended.
    """
    child.stdin.write("step\n")
    child.stdin.flush()
    for line in child.stdout:  # packages print lines of their own
        if line.startswith("seconds "):
            return [float(value) for value in line.split()[1:]]
    raise RuntimeError(f"{child.args} ended, see its message above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["DSNet_tiny"], help="ours, by name")
    parser.add_argument("--paddleclas", nargs="*", default=["DSNet_tiny"], help="of that package")
    parser.add_argument("--to-static", action="store_true", help="also ours as a static graph")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        serve_steps(arguments.models[0], arguments.child, arguments.batch, arguments.size)
        return

    cases = [(name, kind) for name in arguments.models for kind in ("eager", "to_static")]
    cases = [case for case in cases if case[1] == "eager" or arguments.to_static]
    cases += [(name, "paddleclas") for name in arguments.paddleclas]
    children = {case: start(*case, arguments.batch, arguments.size) for case in cases}
    best: dict[tuple[str, str], list[float]] = {}
    for number in range(arguments.rounds + 1):  # the first one warms up
        print(f"round {number}/{arguments.rounds}", file=sys.stderr, flush=True)
        for case, child in children.items():
            seconds = take_step(child)
            if number:
                best[case] = min(best.get(case, seconds), seconds, key=sum)
    for child in children.values():
        child.stdin.close()
        child.wait()

    print(f"processor seconds of a step, batch {arguments.batch}, {arguments.size} pixels")
    print(f"{'':32}" + "".join(f"{part:>12}" for part in (*PARTS, "step")))
    for (name, kind), seconds in best.items():
        row = "".join(f"{value:12.2f}" for value in (*seconds, sum(seconds)))
        print(f"{f'{name}, {kind}':32}{row}")
    for name, kind in best:
        if kind != "paddleclas" and (name, "paddleclas") in best:
            ratio = sum(best[name, kind]) / sum(best[name, "paddleclas"])
            print(f"{name}, {kind}: {ratio:.2f} of paddleclas's step")


if __name__ == "__main__":
    main()
