"""How fast engines run an exported model on this machine.

Latencies are elapsed time. Everything that is compared takes turns, run by run, so that other work
on the machine slows all of it or none.
"""

import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from PIL import Image as PillowImage

from ppcls.errors import ConfigError
from ppcls.inference.engines import create_engine
from ppcls.inference.model_dir import REPORT, Description
from ppcls.inference.predictor import Predictor
from ppcls.utils.figure import new_figure
from ppcls.utils.logger import logger

_WARM_UP_RUNS = 2
_PEAK_SIDE, _PEAK_SECONDS = 768, 0.5


class EngineSpeed(NamedTuple):
    """One engine at one batch size and number of threads, preprocessing not included."""

    model_dir: str
    engine: str
    precision: str
    threads: int
    batch: int
    #: Milliseconds of one run of the whole batch.
    p50_ms: float
    p99_ms: float
    images_per_second: float
    #: Arithmetic done, 2 per multiply-accumulate; None without the count of an export report.
    gflops: Optional[float]
    #: `gflops` as part of what matrix products reach with as many threads.
    share_of_peak: Optional[float]


class PreprocessingSpeed(NamedTuple):
    """Reading, decoding and transforming, one image at a time in one thread."""

    model_dir: str
    images: int
    p50_ms: float
    p99_ms: float


class MemoryUse(NamedTuple):
    """Resident memory of the process in the course of a long prediction."""

    images: int
    mib_after_tenth: float
    mib_at_end: float


def measure_engines(
    model_dir: Union[str, Path],
    engines: Sequence[str],
    precisions: Sequence[str],
    threads: int,
    batches: Sequence[int],
    rounds: int,
    peak_gflops: float,
) -> "list[EngineSpeed]":
    """Latency and throughput of each engine; those that cannot run are left out, with a warning.

    Args:
        peak_gflops: of one core, see `measure_matmul_peak`.
        rounds: timed runs of each.

    Raises:
        ConfigError: no engine can run the model.
    """
    shape = Description.read(model_dir).image_shape
    rng = np.random.default_rng(0)
    inputs = {n: rng.standard_normal((n, *shape)).astype(np.float32) for n in batches}
    runners = {}
    for name, precision in itertools.product(engines, precisions):
        try:
            engine = create_engine(model_dir, name, threads=threads, precision=precision)
        except ConfigError as error:
            logger.warning(f"left out: {name} {precision}: {error}")
            continue
        runners[name, precision] = engine
    if not runners:
        raise ConfigError(f"no engine of {', '.join(engines)} can run {model_dir}")
    cases = list(itertools.product(runners, batches))
    seconds: dict[Any, list[float]] = {case: [] for case in cases}
    for step in range(_WARM_UP_RUNS + rounds):
        for case in cases:
            elapsed = _time(lambda case=case: runners[case[0]].run_all(inputs[case[1]]))
            if step >= _WARM_UP_RUNS:
                seconds[case].append(elapsed)
    macs = _macs(model_dir)
    return [
        _speed(str(model_dir), *key, threads, batch, seconds[key, batch], macs, peak_gflops)
        for key, batch in cases
    ]


def _speed(
    model_dir: str,
    engine: str,
    precision: str,
    threads: int,
    batch: int,
    seconds: "list[float]",
    macs: Optional[int],
    peak_gflops: float,
) -> EngineSpeed:
    p50, p99 = np.percentile(seconds, [50, 99])
    gflops = None if macs is None else 2e-9 * macs * batch / float(p50)
    share = None if gflops is None else gflops / (peak_gflops * threads)
    return EngineSpeed(
        model_dir,
        engine,
        precision,
        threads,
        batch,
        1000 * float(p50),
        1000 * float(p99),
        batch / float(p50),
        gflops,
        share,
    )


def _macs(model_dir: Union[str, Path]) -> Optional[int]:
    path = Path(model_dir) / REPORT
    return json.loads(path.read_text(encoding="utf-8")).get("macs") if path.exists() else None


def _time(function: "Callable[[], Any]") -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure_matmul_peak() -> float:
    """GFLOP/s of float32 matrix products in NumPy, per core.

    They are divided by the CPU time of all threads, so neither the number of threads that NumPy
    takes nor other work on the machine changes the result much.
    """
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, _PEAK_SIDE, _PEAK_SIDE)).astype(np.float32)
    np.matmul(one, other)
    best = 0.0
    stop = time.process_time() + _PEAK_SECONDS
    while time.process_time() < stop:
        start = time.process_time()
        np.matmul(one, other)
        best = max(best, 2e-9 * _PEAK_SIDE**3 / (time.process_time() - start))
    return best


def measure_preprocessing(
    model_dir: Union[str, Path], images: "list[Any]", rounds: int
) -> PreprocessingSpeed:
    """From a file (or its bytes) to the model's input, each image `rounds` times."""
    from ppcls.data.transform import build_transforms
    from ppcls.inference.image_source import read_image

    transforms = build_transforms(Description.read(model_dir).transform_ops)
    seconds = [
        _time(lambda image=image: transforms(read_image(image)))
        for _ in range(rounds)
        for image in images
    ]
    p50, p99 = np.percentile(seconds, [50, 99])
    return PreprocessingSpeed(str(model_dir), len(images), 1000 * float(p50), 1000 * float(p99))


def make_photos(count: int = 8) -> "list[bytes]":
    """JPEG files of noise over a gradient, from 160x120 to 1600x1200, for want of real ones."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(count):
        side = 160 + 1440 * number // max(count - 1, 1)
        ramp = np.linspace(0, 200, side)[None, :, None] * rng.uniform(0.2, 1, 3)
        noise = rng.integers(0, 56, (side * 3 // 4, side, 3))
        buffer = io.BytesIO()
        PillowImage.fromarray((ramp + noise).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    return photos


def measure_memory(predictor: Predictor, images: "list[Any]", count: int) -> MemoryUse:
    """Predicts `count` images, `images` over and over.

    Raises:
        ConfigError: the system has no /proc/self/statm.
    """
    if not Path("/proc/self/statm").exists():
        raise ConfigError("memory is read from /proc/self/statm, which this system does not have")

    def endless() -> "Iterator[Any]":
        return itertools.islice(itertools.cycle(images), count)

    after_tenth = 0.0
    for number, _ in enumerate(predictor.predict_iter(endless()), start=1):
        if number == -(-count // 10):
            after_tenth = _resident_mib()
    return MemoryUse(count, after_tenth, _resident_mib())


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def draw_speeds(speeds: "list[EngineSpeed]", path: Path) -> None:
    """Writes a PNG: milliseconds per image of every engine, a group per batch and threads.

    Raises:
        ConfigError: Matplotlib is missing.
    """
    groups = list(dict.fromkeys((s.model_dir, s.batch, s.threads) for s in speeds))
    names = list(dict.fromkeys((s.engine, s.precision) for s in speeds))
    width = 0.8 / len(names)
    figure = new_figure(3 + 1.2 * len(groups), 4.5)
    axes = figure.subplots()
    for number, name in enumerate(names):
        bars = {
            groups.index((s.model_dir, s.batch, s.threads)): s.p50_ms / s.batch
            for s in speeds
            if (s.engine, s.precision) == name
        }
        drawn = axes.bar(
            [group + (number - (len(names) - 1) / 2) * width for group in bars],
            list(bars.values()),
            width,
            label=" ".join(name),
        )
        axes.bar_label(drawn, fmt="%.3g", fontsize=7)
    axes.set_xticks(range(len(groups)))
    axes.set_xticklabels(
        [f"{Path(folder).name}\nbatch {batch}\n{n} thread(s)" for folder, batch, n in groups],
        fontsize=8,
    )
    axes.set_ylabel("ms per image (median run)")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
