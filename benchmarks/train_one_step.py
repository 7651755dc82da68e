"""Trains one step of configurations, and evaluates one batch, on random images.

    python benchmarks/train_one_step.py FILE... [--batch-size 2] [--size N] [--timeout 900]
    python benchmarks/train_one_step.py $(find PaddleClas/ppcls/configs/ImageNet -name '*.yaml')

Every file runs unchanged, with `tools/train.py`'s own code, but for overrides of paths, device,
batch size, workers and pretrained weights (nothing is downloaded). Each runs in a process
of its own: it takes its memory with it, and one that hangs or dies costs only its own line. The
learning rate is the first of the file's schedule, often that of its warm-up.

A line per file: OK or FAIL, seconds, the most memory the process had, the training loss or the
reason. The exit code is 1 if any failed.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

_LISTS = ("ImageNetDataset", "ClsDataset", "MultiScaleDataset", "MultiLabelDataset")
_MULTI_LABEL = "MultiLabelDataset"


def overrides(config: "dict[str, Any]", folder: Path, batch_size: int) -> "list[str]":
    """`-o` texts that make a configuration train a step on the data of `write_data`."""
    texts = [
        "Global.device=cpu",
        "Global.eval_during_train=true",
        "Global.eval_interval=1",
        "Global.print_batch_step=1",
        "Global.save_interval=1000000",
        "Global.use_visualdl=false",
        "Global.checkpoints=null",
        "Global.pretrained_model=null",
        f"Global.output_dir={folder / 'output'}",
        *_without_weights(config.get("Arch"), "Arch"),
    ]
    for split, section in (config.get("DataLoader") or {}).items():
        path = f"DataLoader.{split}"
        per_batch = (
            "first_bs" if section["sampler"]["name"] == "MultiScaleSampler" else "batch_size"
        )
        texts += [
            f"{path}.dataset.image_root={folder}",
            f"{path}.dataset.cls_label_path={folder / split}.txt",
            f"{path}.sampler.{per_batch}={batch_size}",
            f"{path}.loader.num_workers=0",
        ]
    return texts


def _without_weights(arch: Any, path: str) -> "Iterator[str]":
    """Overrides of every `pretrained` and `pretrained_list` of an `Arch` section."""
    if not isinstance(arch, dict):
        return
    if arch.get("pretrained"):
        yield f"{path}.pretrained=false"
    if arch.get("pretrained_list"):
        yield f"{path}.pretrained_list=null"
    for index, models in enumerate(arch.get("models") or ()):
        for name, model in models.items():
            yield from _without_weights(model, f"{path}.models.{index}.{name}")


def write_data(config: "dict[str, Any]", folder: Path, size: Optional[int], images: int) -> None:
    """Writes random images, and a list of them per split as its dataset reads it."""
    import numpy as np
    from PIL import Image

    from ppcls.arch.distillation import inference_spec

    _, *shape = (config.get("Global") or {}).get("image_shape", (3, 224, 224))
    height, width = (size, size) if size else shape
    rng = np.random.default_rng(0)
    class_num = inference_spec(config["Arch"])[0].get("class_num", 1000)
    for number in range(images):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    for split, section in config["DataLoader"].items():
        dataset = section["dataset"]
        with open(folder / f"{split}.txt", "w", encoding="utf-8") as lines:
            for number in range(images):
                if dataset["name"] == _MULTI_LABEL:
                    row = rng.integers(0, 2, class_num)
                    label, delimiter = ",".join(map(str, row)), "\t"
                else:
                    label, delimiter = str(rng.integers(class_num)), " "
                lines.write(f"{number}.jpg{dataset.get('delimiter') or delimiter}{label}\n")


def run_here(path: str, folder: Path, batch_size: int, size: Optional[int]) -> "dict[str, Any]":
    """Trains and evaluates; what came of it."""
    from ppcls.config import load_config, load_yaml
    from ppcls.errors import UserError

    try:
        load_config(path)
        plain = load_yaml(path)
        unknown = _unknown_dataset(plain)
        if unknown:
            return {"reason": f"{unknown}: this script makes no data for it"}
        config = load_config(path, overrides(plain, folder, batch_size))
        write_data(config, folder, size, images=batch_size)
        from ppcls.engine.trainer import Trainer

        trainer = Trainer(config)
        # Schedules are made for the epochs of the file; one of them is run.
        trainer.options = dataclasses.replace(trainer.options, epochs=1)
        trainer.fit()
    except UserError as error:
        return {"reason": str(error).replace(f"{path}: ", "")}
    row = trainer.position.history[-1]
    return {"iterations": trainer.position.iteration, "loss": row["train_loss"]}


def _unknown_dataset(config: "dict[str, Any]") -> Optional[str]:
    for section in (config.get("DataLoader") or {}).values():
        name = ((section or {}).get("dataset") or {}).get("name")
        if name is not None and name not in _LISTS:
            return name
    return None


def run_apart(path: str, arguments: argparse.Namespace) -> "dict[str, Any]":
    """`run_here` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", folder, path]
        command += ["--batch-size", str(arguments.batch_size)]
        if arguments.size:
            command += ["--size", str(arguments.size)]
        log = Path(folder, "log.txt")
        try:
            with open(log, "w", encoding="utf-8") as output:
                code = subprocess.run(
                    command, stdout=output, stderr=subprocess.STDOUT, timeout=arguments.timeout
                ).returncode
        except subprocess.TimeoutExpired:
            return {"reason": f"not done after {arguments.timeout} s"}
        result = Path(folder, "result.json")
        if result.exists():
            return json.loads(result.read_text(encoding="utf-8"))
        said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {"reason": f"exit code {code}: {said[-1] if said else 'no message'}"}


def child(arguments: argparse.Namespace) -> None:
    from ppcls.utils.cpu import choose_libraries

    choose_libraries()
    folder = Path(arguments.child)
    result = run_here(arguments.files[0], folder, arguments.batch_size, arguments.size)
    result["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML configurations")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument(
        "--size", type=int, help="side of the random images; default: Global.image_shape"
    )
    parser.add_argument("--timeout", type=float, default=900, help="seconds per file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return 0
    common = os.path.commonpath([str(Path(path).parent) for path in arguments.files])
    print("Pretrained weights are not loaded; models start from random ones.")
    failed = 0
    for path in arguments.files:
        start = time.monotonic()
        result = run_apart(path, arguments)
        seconds = time.monotonic() - start
        failed += "reason" in result
        memory = f"{result['MiB']:6d} MiB" if "MiB" in result else " " * 10
        said = result.get("reason") or f"loss {result['loss']:.3f}"
        word = "FAIL" if "reason" in result else "OK  "
        print(
            f"{word} {seconds:6.1f} s {memory}  {os.path.relpath(path, common)}: {said}", flush=True
        )
    print(f"{len(arguments.files) - failed} of {len(arguments.files)} trained a step")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
