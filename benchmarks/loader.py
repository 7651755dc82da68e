"""CPU time of the evaluation pipeline, of PaddleClas's own operators, and of decoding alone.

    python benchmarks/loader.py dataset/photos
    python benchmarks/loader.py dataset/photos --transforms configs/DSNet/DSNet_tiny.yaml --rounds 9

PaddleClas's operators are those of the PyPI package `paddleclas` (`deploy.python.preprocess`). All
take turns image by image, on one thread, and the fastest round of each counts, so that ratios hold
on a machine with other work. The results are compared, too: they must be equal to the bit.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CONFIG = "configs/DSNet/DSNet_tiny.yaml"


def runners(specs: "list[Any]") -> "dict[str, Callable[[bytes], Any]]":
    """What is compared, each a function of a file's bytes."""
    import cv2
    import numpy as np

    from ppcls.data.transform import build_transforms

    pipeline = build_transforms(specs)

    def decode_only(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def one_by_one(data: bytes) -> np.ndarray:
        image: Any = data
        for operator in pipeline.operators:
            image = operator(image, None)
        return np.ascontiguousarray(image)

    found: dict[str, Callable] = {"decode only": decode_only}
    if pipeline.steps != pipeline.operators:
        found["ours, operators fused"] = pipeline
    found["ours, one by one"] = one_by_one
    try:
        from paddleclas.deploy.python.preprocess import create_operators
    except ImportError:
        print("the package paddleclas is not installed: nothing to compare with", file=sys.stderr)
        return found
    operators = create_operators([{name: dict(values or {})} for name, values in named(specs)])

    def theirs(data: bytes) -> np.ndarray:
        image: Any = data
        for operator in operators:
            image = operator(image)
        return np.ascontiguousarray(image)

    found["paddleclas"] = theirs
    return found


def named(specs: "list[Any]") -> "list[tuple[str, dict[str, Any]]]":
    """(name, arguments) of every operator."""
    from ppcls.registry import parse_spec

    return [parse_spec(spec) for spec in specs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="JPEG files, searched recursively")
    parser.add_argument("--transforms", default=CONFIG, help=f"YAML with the pipeline ({CONFIG})")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    import cv2
    import numpy as np

    from ppcls.config import load_config

    cv2.setNumThreads(1)
    paths = sorted(arguments.folder.rglob("*.jpg"))[: arguments.images]
    if not paths:
        sys.exit(f"error: {arguments.folder} holds no .jpg files")
    files = [path.read_bytes() for path in paths]
    config = load_config(arguments.transforms)
    run = runners(list(config["DataLoader"]["Eval"]["dataset"]["transform_ops"]))
    if "paddleclas" in run:
        for path, data in zip(paths, files):
            expected = run["paddleclas"](data)
            for name in run.keys() - {"paddleclas", "decode only"}:
                if not np.array_equal(run[name](data), expected):
                    sys.exit(f"error: {path}: '{name}' differs from paddleclas")
    best = dict.fromkeys(run, float("inf"))
    for number in range(arguments.rounds):
        print(f"round {number + 1}/{arguments.rounds}", file=sys.stderr, flush=True)
        seconds = dict.fromkeys(run, 0.0)
        for data in files:
            for name, function in run.items():
                start = time.process_time()
                function(data)
                seconds[name] += time.process_time() - start
        best = {name: min(best[name], seconds[name]) for name in run}

    print(f"{len(files)} images of {arguments.folder}, evaluation of {arguments.transforms}")
    print(f"{'':24}CPU ms per image   images per CPU second   / decode only")
    for name, total in best.items():
        ms = 1000 * total / len(files)
        print(f"{name:24}{ms:16.3f}{1000 / ms:24.1f}{total / best['decode only']:16.2f}")


if __name__ == "__main__":
    main()
