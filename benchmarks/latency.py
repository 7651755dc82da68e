"""Milliseconds per image of models in dygraph, Paddle Inference (oneDNN) and ONNX Runtime.

    python benchmarks/latency.py DSNet_tiny TransXNet_T --paddleclas DSNet_tiny
    python benchmarks/latency.py --engines paddle --batch 1 8 --threads 2

Every model is exported as `tools/export_model.py` does it, with a free batch; those of the package
`paddleclas` (its own implementation, random weights) as that package does it. Runs of all models
and engines take turns, and the fastest of each counts, so that ratios within one run hold on a
machine with other work. `--clock cpu` counts processor time, which other work changes less than
the time on the wall; with one thread both are the same on an idle machine.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

# Paddle reads the number of threads when it is imported.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODELS = ["DSNet_tiny", "TransXNet_T", "DWNet_tiny", "DynamicDWNet_tiny", "IDynamicDWNet_tiny"]
MODELS += ["VOLO_D1", "SAN10_pairwise", "SAN10_patchwise"]
BASELINES = ["DSNet_tiny", "SwinTransformer_tiny_patch4_window7_224"]
ENGINES = ["dygraph", "paddle", "onnxruntime"]
SIZE, OPSET = 224, 13
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def build(name: str, from_paddleclas: bool) -> object:
    """The model in evaluation mode; `from_paddleclas` builds that package's own."""
    import paddle

    from ppcls.arch import build_model, paddleclas_zoo

    paddle.seed(0)
    model = paddleclas_zoo.find(name)() if from_paddleclas else build_model(name)
    model.eval()
    return model


def runners(
    name: str, from_paddleclas: bool, engines: "list[str]", threads: int, folder: Path
) -> "dict[str, Callable]":
    """For each engine a function of a batch of images."""
    import paddle

    from ppcls.arch.fusion import fuse_for_inference
    from ppcls.engine.exporter import write_program
    from ppcls.engine.onnx_file import write_onnx
    from ppcls.inference.engines import create_engine

    model = build(name, from_paddleclas)

    def in_dygraph(images: object) -> object:
        with paddle.no_grad():
            return model(paddle.to_tensor(images)).numpy()

    built: dict[str, Callable] = {}
    if "dygraph" in engines:
        built["dygraph"] = in_dygraph
    deployed = [engine for engine in engines if engine != "dygraph"]
    if deployed:
        deployed_model = model if from_paddleclas else fuse_for_inference(model)
        write_program(deployed_model, folder, [3, SIZE, SIZE])
        if "onnxruntime" in deployed:
            write_onnx(folder, OPSET)
    for engine in deployed:
        built[engine] = create_engine(folder, engine, threads=threads).run
    return built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="ours, by name")
    parser.add_argument("--paddleclas", nargs="*", default=BASELINES, help="of that package")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

    import numpy as np

    from ppcls.utils.cpu import use_fast_kernels

    use_fast_kernels()  # for `paddleclas` too, which by itself does not: the models are compared
    logging.disable(logging.INFO)
    cases = [(name, False) for name in arguments.models]
    cases += [(name, True) for name in arguments.paddleclas]
    runs: dict[tuple[str, str], Callable] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, from_paddleclas) in enumerate(cases):
            label = f"paddleclas {name}" if from_paddleclas else name
            print(f"preparing {number + 1}/{len(cases)} {label}", file=sys.stderr, flush=True)
            folder = Path(scratch) / str(number)
            folder.mkdir()
            built = runners(name, from_paddleclas, arguments.engines, arguments.threads, folder)
            runs.update({(label, engine): run for engine, run in built.items()})
    images = np.random.RandomState(0).standard_normal((max(arguments.batch), 3, SIZE, SIZE))
    images = images.astype(np.float32)
    clock = CLOCKS[arguments.clock]
    best: dict[tuple[str, str, int], float] = {}
    for number in range(arguments.rounds + 1):  # the first one warms up
        print(f"round {number}/{arguments.rounds}", file=sys.stderr, flush=True)
        for (label, engine), run in runs.items():
            for batch in arguments.batch:
                start = clock()
                run(images[:batch])
                taken = 1000 * (clock() - start) / batch
                if number:
                    key = (label, engine, batch)
                    best[key] = min(taken, best.get(key, taken))

    columns = [(engine, batch) for engine in arguments.engines for batch in arguments.batch]
    labels = list(dict.fromkeys(label for label, _ in runs))
    width = max(map(len, labels)) + 2
    print(f"ms per image, {SIZE} x {SIZE}, {arguments.threads} thread(s), {arguments.clock} clock")
    print(" " * width + "".join(f"{f'{engine} {batch}':>16}" for engine, batch in columns))
    for label in labels:
        print(f"{label:{width}}" + "".join(f"{best[(label, *c)]:16.1f}" for c in columns))
    for name in arguments.models:
        theirs = f"paddleclas {name}"
        if theirs in labels:
            ratios = "".join(f"{best[(theirs, *c)] / best[(name, *c)]:15.2f}x" for c in columns)
            print(f"{f'{name}, times faster':{width}}" + ratios)


if __name__ == "__main__":
    main()
