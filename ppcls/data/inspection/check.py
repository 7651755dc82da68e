"""Checks the datasets of a configuration; see `tools/check_dataset.py`."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from ppcls.config.sections import GlobalOptions
from ppcls.data.inspection.copies import Copies
from ppcls.data.inspection.findings import Finding, Report, first_examples
from ppcls.data.inspection.labels import (
    balance,
    class_counts,
    empty_classes,
    imbalance,
    out_of_range,
)
from ppcls.data.inspection.survey import Survey, survey
from ppcls.data.inspection.trial import try_transforms
from ppcls.data.transform.decode import DecodeImage, decode_image
from ppcls.errors import ConfigError, UserError
from ppcls.registry import DATASETS
from ppcls.utils.atomic import write_text

#: What models have where the configuration says nothing.
_DEFAULT_CLASS_NUM = 1000


class DatasetCheck:
    """The datasets of a configuration's splits, and what is found in them.

    Args:
        sections: `DataLoader.<split>` by split, the one that is trained on first.
        class_num: number of outputs of the model.
        label_names: names of classes by id, as far as known.
        seed: of everything random.
        epochs: length of the training, for transforms that change in its course.
        output_dir: `Global.output_dir`.
    """

    def __init__(
        self,
        sections: Mapping[str, Any],
        class_num: int,
        label_names: Optional[Mapping[int, str]] = None,
        seed: int = 0,
        epochs: int = 1,
        output_dir: str = "./output",
    ):
        self.sections = sections
        self.seed = seed
        self.output_dir = output_dir
        self.report = Report(class_num)
        self.label_names = dict(label_names or {})
        self.datasets: dict[str, Any] = {}
        self.surveys: dict[str, Survey] = {}
        for split, section in sections.items():
            try:
                dataset = DATASETS.build(section["dataset"], seed=seed)
            except (UserError, OSError) as error:
                self._add(Finding("error", "dataset", split, 1, str(error)))
                continue
            dataset.transform.epochs = epochs
            self.datasets[split] = dataset
            for class_id, name in enumerate(dataset.class_names or ()):
                self.label_names.setdefault(class_id, name)

    def class_name(self, class_id: int) -> str:
        """The name of a class, or its number."""
        return self.label_names.get(int(class_id), str(class_id))

    def run(self, jobs: int = 1, near_duplicates: bool = False) -> Report:
        """Reads every image once.

        Args:
            jobs: worker processes; 0 works in this one.
            near_duplicates: also look for images that look alike.
        """
        for split, dataset in self.datasets.items():
            self.surveys[split] = survey(
                dataset, split, jobs, _decoder(dataset), with_signatures=near_duplicates
            )
            self._report_split(split, dataset, self.surveys[split])
        if self.datasets:
            copies = Copies(self.datasets, self.surveys)
            self.report.findings += copies.identical()
            if near_duplicates:
                self.report.findings += copies.near()
        return self.report

    def has_images(self) -> bool:
        """Whether a split has an image that can be drawn."""
        return any(found.is_readable.any() for found in self.surveys.values())

    def _add(self, finding: Optional[Finding]) -> None:
        if finding is not None:
            self.report.findings.append(finding)

    def _report_split(self, split: str, dataset: Any, found: Survey) -> None:
        class_num = self.report.class_num
        counts = class_counts(dataset.labels, class_num)
        self._add(_list_faults(split, dataset, class_num))
        self._add(_unreadable(split, dataset, found))
        self._add(out_of_range(split, dataset, class_num))
        input_size, failures = try_transforms(split, dataset, found, self.seed)
        self._add(failures)
        self._add(empty_classes(split, counts, self.class_name))
        self._add(imbalance(split, counts, self.class_name))
        self.report.splits[split] = {
            "images": len(dataset),
            "readable": int(found.is_readable.sum()),
            "seconds": round(found.seconds, 3),
            "images_per_second": round(len(dataset) / max(found.seconds, 1e-9), 1),
            "classes": [
                {"id": class_id, "name": self.class_name(class_id), "images": int(count)}
                for class_id, count in enumerate(counts)
            ],
            "balance": balance(counts, self.class_name),
            **_size_statistics(found, input_size),
        }


def _decoder(dataset: Any) -> "Callable[[bytes], np.ndarray]":
    """Decodes with the library that the dataset decodes with."""
    for operator in dataset.transform.operators:
        if isinstance(operator, DecodeImage):
            return partial(decode_image, backend=operator.backend)
    return decode_image


def _list_faults(split: str, dataset: Any, class_num: int) -> Optional[Finding]:
    """What the dataset itself complains of, less what decoding and `out_of_range` tell better."""
    if hasattr(dataset, "list"):
        faults = list(dataset.list.faults)
    else:
        labels = dataset.labels
        widest = class_num
        if labels.ndim == 1 and len(labels):
            widest = max(class_num, int(labels.max()) + 1)
        faults = dataset.problems(widest)
    if not faults:
        return None
    message = "faults of the list or of the files that hold the images"
    return Finding("error", "list", split, len(faults), message, faults)


def _unreadable(split: str, dataset: Any, found: Survey) -> Optional[Finding]:
    if not found.unreadable:
        return None
    message = f"unreadable: {found.unreadable} of {len(dataset)} images"
    root = getattr(dataset, "image_root", None)
    if root is not None and not Path(root).is_dir():
        message += f"; image_root {root} is not a folder"
    examples = first_examples(f"{dataset.path(i)}: {reason}" for i, reason in found.faults)
    return Finding("error", "unreadable", split, found.unreadable, message, examples)


def _size_statistics(found: Survey, input_size: "Optional[tuple[int, int]]") -> "dict[str, Any]":
    sizes = found.sizes[found.is_readable]
    statistics: dict[str, Any] = {
        "formats": dict(found.formats.most_common()),
        "modes": dict(found.modes.most_common()),
        "exif_rotated": found.rotated,
    }
    if not len(sizes):
        return statistics
    width, height = sizes.T
    for name, values in (("width", width), ("height", height), ("aspect", width / height)):
        statistics[name] = {
            "min": round(float(values.min()), 3),
            "median": round(float(np.median(values)), 3),
            "max": round(float(values.max()), 3),
        }
    if input_size is not None:
        is_smaller = (width < input_size[0]) | (height < input_size[1])
        statistics["input_size"] = list(input_size)
        statistics["smaller_than_input"] = int(is_smaller.sum())
    return statistics


def check_of_config(
    config: Mapping[str, Any], splits: Sequence[str], label_names: Mapping[int, str]
) -> DatasetCheck:
    """The check of the splits that a configuration has; see `DatasetCheck`.

    Raises:
        ConfigError: it has none of them.
    """
    loaders = config.get("DataLoader") or {}
    sections = {split: loaders[split] for split in splits if loaders.get(split)}
    if not sections:
        raise ConfigError(
            f"DataLoader has none of the splits {', '.join(splits)}; "
            f"it has {', '.join(loaders) or 'none at all'}"
        )
    options = GlobalOptions(**(config.get("Global") or {}))
    return DatasetCheck(
        sections,
        class_num_of(config["Arch"]) or _DEFAULT_CLASS_NUM,
        label_names,
        options.seed,
        options.epochs,
        options.output_dir,
    )


def write_report(report: Report, path: Path) -> None:
    """Writes the report as JSON."""
    # ASCII, because names of files need not be UTF-8.
    write_text(path, json.dumps(report.to_json(), indent=2) + "\n")


def class_num_of(arch: Any) -> Optional[int]:
    """The number of classes that an `Arch` section names, also within the models it is made of."""
    if isinstance(arch, Mapping):
        if arch.get("class_num") is not None:
            return int(arch["class_num"])
        parts: Sequence[Any] = list(arch.values())
    elif isinstance(arch, (list, tuple)):
        parts = arch
    else:
        return None
    found = (class_num_of(part) for part in parts)
    return next((number for number in found if number is not None), None)
