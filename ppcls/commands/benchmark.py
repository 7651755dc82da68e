"""Measure exported models: latency and throughput of every engine, preprocessing, memory."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppcls.commands import positive_number

if TYPE_CHECKING:
    from ppcls.inference.benchmark import EngineSpeed, PreprocessingSpeed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", nargs="+", type=Path, help="exported folders")
    parser.add_argument(
        "--engine",
        nargs="+",
        default=["paddle", "onnxruntime", "openvino"],
        choices=("paddle", "onnxruntime", "openvino"),
        help="those that cannot run here are left out (all)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["fp32"],
        choices=("fp32", "bf16", "fp16", "int8"),
        help="of each engine that has it (fp32)",
    )
    parser.add_argument(
        "--batch", nargs="+", type=positive_number, default=[1, 8], help="batch sizes (1 8)"
    )
    parser.add_argument(
        "--threads", nargs="+", type=positive_number, default=[1], help="CPU threads of one run (1)"
    )
    parser.add_argument(
        "--rounds", type=positive_number, default=30, help="timed runs of each (30)"
    )
    parser.add_argument(
        "--images", type=Path, help="image or folder for preprocessing (default: made-up photos)"
    )
    parser.add_argument(
        "--memory",
        type=positive_number,
        metavar="N",
        help="also predict N images of mixed sizes and print the memory that it takes",
    )
    parser.add_argument("--csv", type=Path, help="also write the numbers to this file")
    parser.add_argument("--png", type=Path, help="also draw the latencies to this file")


def run(arguments: argparse.Namespace) -> int:
    from ppcls.inference import benchmark
    from ppcls.inference.image_source import expand
    from ppcls.inference.predictor import Predictor
    from ppcls.utils.logger import init_logger

    init_logger()
    source = arguments.images
    images = [image.image for image in expand(source)] if source else benchmark.make_photos()
    peak = benchmark.measure_matmul_peak()
    print(f"matrix products of float32: {peak:.1f} GFLOP/s per core\n")
    speeds, preprocessing = [], []
    for folder in arguments.model_dir:
        for threads in arguments.threads:
            speeds += benchmark.measure_engines(
                folder,
                arguments.engine,
                arguments.precision,
                threads,
                arguments.batch,
                arguments.rounds,
                peak,
            )
        preprocessing.append(benchmark.measure_preprocessing(folder, images, rounds=3))
    print(format_speeds(speeds))
    for one in preprocessing:
        print(
            f"\npreprocessing of {one.model_dir}, {one.images} images, one thread: "
            f"p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms per image"
        )
    if arguments.memory:
        for folder in arguments.model_dir:
            predictor = Predictor(folder, batch_size=arguments.batch[0])
            use = benchmark.measure_memory(predictor, images, arguments.memory)
            print(
                f"\nmemory of {folder} with {predictor.engine.name}: {use.mib_after_tenth:.0f} MiB "
                f"after a tenth of {use.images} images, {use.mib_at_end:.0f} MiB at the end"
            )
    if arguments.csv:
        write_csv(arguments.csv, speeds, preprocessing)
        print(f"wrote {arguments.csv}")
    if arguments.png:
        benchmark.draw_speeds(speeds, arguments.png)
        print(f"wrote {arguments.png}")
    return 0


def format_speeds(speeds: "Sequence[EngineSpeed]") -> str:
    """A table, a line per engine, batch and number of threads."""
    titles = ("model", "engine", "threads", "batch", "p50 ms", "p99 ms", "images/s", "of peak")
    rows = [
        (
            Path(s.model_dir).name,
            f"{s.engine} {s.precision}",
            str(s.threads),
            str(s.batch),
            f"{s.p50_ms:.2f}",
            f"{s.p99_ms:.2f}",
            f"{s.images_per_second:.1f}",
            "" if s.share_of_peak is None else f"{s.share_of_peak:.1%}",
        )
        for s in speeds
    ]
    widths = [max(map(len, column)) for column in zip(titles, *rows)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in (titles, *rows)]
    return "\n".join(lines)


def write_csv(
    path: Path, speeds: "Sequence[EngineSpeed]", preprocessing: "Sequence[PreprocessingSpeed]"
) -> None:
    """A row per measurement; preprocessing has the engine `preprocessing`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [speed._asdict() for speed in speeds]
    rows += [
        {
            "model_dir": one.model_dir,
            "engine": "preprocessing",
            "threads": 1,
            "batch": 1,
            "p50_ms": one.p50_ms,
            "p99_ms": one.p99_ms,
            "images_per_second": 1000 / one.p50_ms,
        }
        for one in preprocessing
    ]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
