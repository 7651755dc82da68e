"""Measure data loading: CPU milliseconds per image of each operator, images/s of the whole."""

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls.commands import add_config_arguments, positive_number, whole_number

if TYPE_CHECKING:
    from ppcls.data.benchmark import LoaderCost, OperatorCost
    from ppcls.data.loader import DataLoader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--split", choices=("Train", "Eval"), default="Train")
    parser.add_argument(
        "--workers",
        type=whole_number,
        nargs="+",
        default=[0, 1, 2],
        metavar="N",
        help="numbers of worker processes to measure (0 1 2)",
    )
    parser.add_argument(
        "--batches", type=positive_number, default=4, help="of each measurement (4)"
    )
    parser.add_argument("--csv", type=Path, help="also write the numbers to this file")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ppcls.config import load_config
    from ppcls.data.benchmark import measure_loader, measure_operators
    from ppcls.data.loader import build_loader
    from ppcls.engine.preflight import check_datasets
    from ppcls.errors import ConfigError

    config = load_config(arguments.config, arguments.override)
    split, batches = arguments.split, arguments.batches
    section = (config.get("DataLoader") or {}).get(split)
    if not section:
        raise ConfigError(f"{arguments.config}: there is no section DataLoader.{split}")
    class_num = (config.get("Arch") or {}).get("class_num", 1000)
    seed = (config.get("Global") or {}).get("seed", 0)

    def build_without_workers() -> "DataLoader":
        return build_loader({**section, "loader": {"num_workers": 0}}, split, class_num, seed)

    loader = build_without_workers()
    check_datasets({f"DataLoader.{split}.dataset": loader.dataset}, class_num)
    if len(loader) == 0:
        raise ConfigError(
            f"DataLoader.{split}.sampler: the dataset has {len(loader.dataset)} images, fewer than "
            "a batch, and drop_last leaves them out; make batch_size smaller"
        )
    is_fused = loader.dataset.transform.steps != loader.dataset.transform.operators
    rounds = 1 + is_fused + len(arguments.workers)
    total = 1 + rounds * min(len(loader), batches)
    with tqdm(total=total, unit="batch", leave=False, disable=None) as bar:
        # Not counted: files and libraries are read from the disk for the first time.
        measure_operators(build_without_workers(), 1, True, bar.update)
        tables = [
            measure_operators(build_without_workers(), batches, fused, bar.update)
            for fused in ([False, True] if is_fused else [False])
        ]
        loaders = [
            measure_loader(section, split, class_num, seed, workers, batches, bar.update)
            for workers in arguments.workers
        ]
    for title, table in zip(("one by one", "as it runs, operators fused"), tables):
        print(f"{title}\n{format_operators(table)}\n")
    print(format_loaders(loaders))
    if arguments.csv:
        _write_csv(arguments.csv, tables, loaders)
        print(f"wrote {arguments.csv}")
    return 0


def format_operators(operators: "list[OperatorCost]") -> str:
    """The table of `measure_operators`."""
    whole = operators[-2].ms_per_image
    width = max(len(cost.name) for cost in operators)
    lines = [f"{'operator':{width}}  CPU ms per image   share"]
    lines += [
        f"{cost.name:{width}}  {cost.ms_per_image:16.3f}  {cost.ms_per_image / whole:6.1%}"
        for cost in operators
    ]
    return "\n".join(lines)


def format_loaders(loaders: "list[LoaderCost]") -> str:
    """The table of the whole loader."""
    lines = ["workers    images  images/s  CPU ms per image"]
    lines += [
        f"{cost.workers:7}  {cost.images:8}  {cost.images_per_second:8.1f}"
        f"  {cost.cpu_ms_per_image:16.3f}"
        for cost in loaders
    ]
    return "\n".join(lines)


def _write_csv(path: Path, tables: "list[list[OperatorCost]]", loaders: "list[LoaderCost]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("run", "measured", "cpu_ms_per_image", "images_per_second"))
        for run_name, table in zip(("one by one", "fused"), tables):
            writer.writerows((run_name, c.name, f"{c.ms_per_image:.4f}", "") for c in table)
        writer.writerows(
            (
                f"{c.workers} workers",
                "whole",
                f"{c.cpu_ms_per_image:.4f}",
                f"{c.images_per_second:.1f}",
            )
            for c in loaders
        )
