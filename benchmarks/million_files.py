"""What a list of a million files costs: CPU time at the start, memory of all processes.

    python benchmarks/million_files.py [--images 1300000] [--workers 4] [--batches 200]

Every path of the list is different and leads to a (tiny) image. Beside the dataset of this project
stands one that keeps a Python string and a NumPy integer per image in two lists, as PaddleClas's
datasets do. Each runs in a process of its own, without Paddle.

USS is the memory that a process does not share with any other; PSS adds its part of what is shared.
"""

import argparse
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

FORMS = ["ours", "two lists"]
_PER_FOLDER = 1300
_BATCH_SIZE = 128
_TRANSFORMS = [{"DecodeImage": {}}, {"ToCHWImage": {}}]


def write_files(root: Path, images: int) -> None:
    """Writes `list.txt` with `images` paths `train/<class>/<name>.JPEG`.

    One image is linked under all names of one folder, and that folder under the names of all
    classes: a million paths for some thousand entries of the disk.
    """
    from PIL import Image

    pictures = root / "pictures"
    pictures.mkdir()
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 200)).save(file, "JPEG")
    (pictures / "original").write_bytes(file.getvalue())
    for number in range(min(images, _PER_FOLDER)):
        os.link(pictures / "original", pictures / f"n{number:08d}_{number:05d}.JPEG")
    (root / "train").mkdir()
    with open(root / "list.txt", "w") as lines:
        for first in range(0, images, _PER_FOLDER):
            label = first // _PER_FOLDER
            (root / "train" / f"n{label:08d}").symlink_to(pictures)
            for number in range(min(_PER_FOLDER, images - first)):
                lines.write(f"train/n{label:08d}/n{number:08d}_{number:05d}.JPEG {label}\n")


def build_dataset(form: str, root: Path):
    """A dataset of `list.txt`."""
    import numpy as np

    from ppcls.data.dataset.base import ImageDataset
    from ppcls.data.dataset.imagenet import ImageNetDataset

    class TwoLists(ImageDataset):
        """A string and an integer object per image."""

        def __init__(self):
            super().__init__(_TRANSFORMS)
            self.images, self.labels = [], []
            with open(root / "list.txt") as lines:
                for line in lines.readlines():
                    name, label = line.strip().split(" ")
                    self.images.append(os.path.join(root, name))
                    self.labels.append(np.int64(label))

        def path(self, index: int) -> str:
            return self.images[index]

        def read(self, index: int) -> bytes:
            return Path(self.images[index]).read_bytes()

        def problems(self, class_num: int) -> "list[str]":
            return [path for path in self.images if not os.path.exists(path)]

    if form == "ours":
        return ImageNetDataset(str(root), str(root / "list.txt"), _TRANSFORMS)
    return TwoLists()


def measure(form: str, root: Path, workers: int, batches: int) -> "dict[str, float]":
    """CPU seconds and MiB of one form."""
    import numpy  # noqa: F401  (not to be counted as memory of the dataset)

    from ppcls.data.batching import BatchMaker
    from ppcls.data.sampler import DistributedBatchSampler
    from ppcls.data.workers import WorkerPool

    results = {}
    before = memory("self")["Rss"]

    start = time.process_time()
    dataset = build_dataset(form, root)
    results["read the list, CPU s"] = time.process_time() - start
    results["memory of the list, MiB"] = memory("self")["Rss"] - before

    start = time.process_time()
    if dataset.problems(10**6):
        raise SystemExit("the files of the benchmark are not there")
    results["look for the files, CPU s"] = time.process_time() - start

    sampler = DistributedBatchSampler(dataset, _BATCH_SIZE, shuffle=True)
    start = time.process_time()
    next(iter(sampler))
    results["order of an epoch, CPU s"] = time.process_time() - start

    pool = WorkerPool(BatchMaker(dataset, (), seed=0), workers)
    loaded = pool.map(sampler)
    for _ in islice(loaded, batches):
        pass
    used = [memory(process.pid) for process in multiprocessing.active_children()]
    loaded.close()
    pool.close()
    results["main process RSS, MiB"] = memory("self")["Rss"]
    for kind in ("Rss", "Pss", "Uss"):
        results[f"worker {kind.upper()}, MiB"] = sum(u[kind] for u in used) / len(used)
    return results


def memory(process: object) -> "dict[str, float]":
    """Rss, Pss and Uss of a process in MiB."""
    fields = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name.rstrip(":")] = int(value) / 1024
    uss = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"Rss": fields["Rss"], "Pss": fields["Pss"], "Uss": uss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batches", type=int, default=200, help=f"of {_BATCH_SIZE} images")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        sizes = (arguments.workers, arguments.batches)
        print(json.dumps(measure(arguments.form, arguments.root, *sizes)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), arguments.images)
        size = (Path(folder) / "list.txt").stat().st_size / 2**20
        print(f"{arguments.images} images, list of {size:.0f} MiB, {arguments.workers} workers")
        columns = []
        for form in FORMS:
            command = [sys.executable, __file__, "--form", form, "--root", folder]
            command += ["--workers", str(arguments.workers), "--batches", str(arguments.batches)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            columns.append(json.loads(output.splitlines()[-1]))
    print(f"{'':28}" + "".join(f"{form:>12}" for form in FORMS))
    for name in columns[0]:
        print(f"{name:28}" + "".join(f"{column[name]:12.2f}" for column in columns))


if __name__ == "__main__":
    main()
