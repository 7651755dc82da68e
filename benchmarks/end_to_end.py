"""From files to labels: our predictor beside the package `paddleclas` with a model it exported.

    python benchmarks/end_to_end.py dataset/photos
    python benchmarks/end_to_end.py dataset/photos --engine openvino --precisions fp32 int8

`paddleclas` runs its own DSNet_tiny as a legacy program, with its own reading, preprocessing and
postprocess and its own settings (oneDNN on), through `paddleclas.PaddleClas(...).predict(folder)`;
ours run `Predictor(folder, engine=...).predict(folder)` on exports with the same preprocessing.
DSNet_tiny has the same weights in both, and the classes found in float32 must be the same. Weights
are random: of int8, calibrated on some of the photos, only the speed says something.

Each runs in a process of its own, and they take turns, a whole folder at a time; the fastest round
of each counts, so that ratios within one run hold on a machine with other work. Times are those of
the processor, of all threads, and on the wall.
"""

import argparse
import contextlib
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engines import SIZE, build_calibrated, select

THEIRS = "DSNet_tiny"
CALIBRATED_ON = 16
#: `deploy/configs/inference_cls.yaml` of PaddleClas.
TRANSFORMS = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": 256}},
    {"CropImage": {"size": SIZE}},
    {
        "NormalizeImage": {
            "scale": 0.00392157,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
        }
    },
    {"ToCHWImage": {}},
]


def export_ours(name: str, folder: Path, paths: "list[Path]", batch: Optional[int]) -> None:
    """Writes the folder of a model, and beside it its weights for the other package."""
    import numpy as np
    import paddle

    from ppcls.data.transform import build_transforms
    from ppcls.engine.exporter import export_model
    from ppcls.inference.model_dir import Description

    transforms = build_transforms(TRANSFORMS)
    photos = np.stack([transforms(path.read_bytes()) for path in paths[:CALIBRATED_ON]])
    model = build_calibrated(name, photos)
    description = Description(
        model_name=name,
        batch_size=batch,
        image_shape=[3, SIZE, SIZE],
        transform_ops=TRANSFORMS,
        postprocess={"name": "Topk", "topk": 5},
    )
    export_model(model, folder, description, formats=("pir", "onnx"))
    paddle.save(model.state_dict(), str(folder.with_suffix(".pdparams")))


def quantize_ours(folder: Path, target: Path, paths: "list[Path]") -> None:
    """Writes the int8 file of the model in a folder."""
    from ppcls.data.transform import build_transforms
    from ppcls.engine.onnx_quantizer import quantize_onnx

    transforms = build_transforms(TRANSFORMS)
    photos = [transforms(path.read_bytes())[None] for path in paths[:CALIBRATED_ON]]
    quantize_onnx(folder / "inference.onnx", target, photos, "minmax", engine="openvino")


def serve_theirs(folder: Path, batches: "list[int]") -> "dict[int, Any]":
    """Exports paddleclas's model as it does, and opens its predictor for each batch size."""
    import paddle
    from paddleclas import PaddleClas

    from ppcls.arch import paddleclas_zoo

    # Its model calls the method, which Paddle 3 cannot trace into a legacy program.
    variable = paddle.static.Variable
    variable.matmul = variable.__matmul__
    model = paddleclas_zoo.find(THEIRS)()
    model.set_state_dict(paddle.load(str(folder.with_suffix(".pdparams"))))
    exported = paddle.nn.Sequential(model, paddle.nn.Softmax(axis=-1))
    exported.eval()
    spec = [paddle.static.InputSpec([None, 3, SIZE, SIZE], "float32", name="x")]
    target = folder.with_suffix(".legacy")
    if not target.exists():
        paddle.jit.save(paddle.jit.to_static(exported, input_spec=spec), str(target / "inference"))

    def runner(batch: int) -> Any:
        predictor = PaddleClas(
            inference_model_dir=str(target),
            use_gpu=False,
            batch_size=batch,
            cpu_num_threads=int(os.environ["OMP_NUM_THREADS"]),
        )
        return lambda photos: [one for part in predictor.predict(photos) for one in part]

    return {batch: runner(batch) for batch in batches}


def serve_ours(folder: Path, batches: "list[int]", engine: str, precision: str) -> "dict[int, Any]":
    """A predictor for each batch size."""
    from ppcls.inference import Predictor

    threads = int(os.environ["OMP_NUM_THREADS"])
    found = {}
    for batch in batches:
        predictor = Predictor(
            folder, engine=engine, batch_size=batch, threads=threads, precision=precision
        )
        print(f"{folder.name} {precision}, {batch}: {predictor.engine.name}", file=sys.stderr)
        found[batch] = predictor.predict
    return found


def work(arguments: argparse.Namespace) -> None:
    """Answers each line, a batch size, with the times and classes of one folder."""
    # Whatever the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments.worker == "paddleclas":
        runners = serve_theirs(arguments.folder, arguments.batch)
    else:
        runners = serve_ours(arguments.folder, arguments.batch, arguments.engine, arguments.worker)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        results = runners[int(line)](str(arguments.photos))
        taken = [time.perf_counter() - wall, time.process_time() - cpu]
        classes = [int(one["class_ids"][0]) for one in results]
        print(json.dumps({"taken": taken, "classes": classes}), file=answers, flush=True)


class Worker:
    """A process that predicts the folder when it is asked to."""

    def __init__(self, kind: str, folder: Path, photos: Path, arguments: argparse.Namespace):
        command = [sys.executable, __file__, str(photos), "--worker", kind, "--folder", str(folder)]
        command += ["--engine", arguments.engine, "--batch", *map(str, arguments.batch)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
        if kind == "paddleclas":
            environment["FLAGS_enable_pir_api"] = "0"
            environment["OMP_NUM_THREADS"] = str(arguments.their_threads or arguments.threads)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._read()

    def predict(self, batch: int) -> "dict[str, Any]":
        print(batch, file=self.process.stdin, flush=True)
        return json.loads(self._read())

    def _read(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("error: a worker ended, see its messages above")
        return line

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of photos, at any depth")
    parser.add_argument("--models", nargs="+", default=[THEIRS, "TransXNet_T"], help="ours")
    parser.add_argument("--engine", default="auto", help="ours (auto)")
    parser.add_argument("--count", type=int, default=32, help="photos (32)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--their_threads", type=int, help="of paddleclas (as ours; its own default is 10)"
    )
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "int8"), default=["fp32"], help="ours (fp32)"
    )
    parser.add_argument(
        "--export_batch", type=int, help="ours exported with this --batch (any batch size)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--exports", type=Path, help="keep the exports here, use those there are")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return 0
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        photos = Path(scratch) / "photos"
        photos.mkdir()
        for number, path in enumerate(select(arguments.photos, arguments.count)):
            shutil.copyfile(path, photos / f"{number:04}{path.suffix}")
        workers = {}
        exports = arguments.exports or Path(scratch)
        for name in dict.fromkeys([THEIRS, *arguments.models]):
            if not (exports / name).exists():
                print(f"preparing {name}", file=sys.stderr, flush=True)
                export_ours(name, exports / name, sorted(photos.iterdir()), arguments.export_batch)
            int8 = exports / name / "inference_int8.onnx"
            if "int8" in arguments.precisions and name in arguments.models and not int8.exists():
                quantize_ours(exports / name, int8, sorted(photos.iterdir()))
        for name, precision in itertools.product(arguments.models, arguments.precisions):
            worker = Worker(precision, exports / name, photos, arguments)
            workers[f"{name} {precision}"] = worker
            stack.callback(worker.close)
        theirs = f"paddleclas {THEIRS}"
        workers[theirs] = Worker("paddleclas", exports / THEIRS, photos, arguments)
        stack.callback(workers[theirs].close)
        best, classes = take_turns(workers, arguments)
    print(f"from file to label, {arguments.count} photos, {arguments.threads} threads")
    print(f"{'':30}{'ms per image':>22}{'times faster':>22}")
    print(f"{'':24}{'batch':>6}" + f"{'wall':>11}{'processor':>11}" * 2)
    for batch in arguments.batch:
        for name in workers:
            times = best[name, batch]
            row = "".join(f"{1000 * seconds:11.1f}" for seconds in times)
            if name != theirs:
                row += "".join(
                    f"{other / ours:11.2f}" for other, ours in zip(best[theirs, batch], times)
                )
            print(f"{name:24}{batch:6}{row}")
    same = f"{THEIRS} fp32"
    if same in workers and classes[same] != classes[theirs]:
        print(f"the classes differ: {classes[same]} {classes[theirs]}")
        return 1
    return 0


def take_turns(
    workers: "dict[str, Worker]", arguments: argparse.Namespace
) -> "tuple[dict[tuple[str, int], list[float]], dict[str, list[int]]]":
    """Seconds per image on the wall and of the processor by name and batch, and the classes."""
    best: dict[tuple[str, int], list[float]] = {}
    classes = {}
    for number in range(arguments.rounds + 1):  # the first one warms up
        print(f"round {number}/{arguments.rounds}", file=sys.stderr, flush=True)
        for batch in arguments.batch:
            for name, worker in workers.items():
                answer = worker.predict(batch)
                taken = [seconds / arguments.count for seconds in answer["taken"]]
                classes[name] = answer["classes"]
                if number:
                    old = best.get((name, batch), taken)
                    best[name, batch] = [min(pair) for pair in zip(old, taken)]
    return best, classes


if __name__ == "__main__":
    sys.exit(main())
