"""What is wrong with datasets, and what is to be known about them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Optional

Severity = Literal["error", "warning"]

#: Examples kept of one finding; its count is always complete.
KEPT_EXAMPLES = 1000
_SHOWN = 10


@dataclass
class Finding:
    """One kind of fault.

    kind: a fixed name for programs, such as "unreadable".
    where: the split, or the splits.
    count: how many samples or classes it concerns.
    message: the sentence for people.
    examples: the first of them.
    """

    severity: Severity
    kind: str
    where: str
    count: int
    message: str
    examples: "list[str]" = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}"]
        lines += [f"    {example}" for example in self.examples[:_SHOWN]]
        if len(self.examples) > _SHOWN:
            lines.append(f"    ... and {self.count - _SHOWN} more")
        return "\n".join(lines)


def first_examples(examples: Iterable[str]) -> "list[str]":
    """As many as a finding keeps."""
    return list(islice(examples, KEPT_EXAMPLES))


@dataclass
class Report:
    """Everything found in one run.

    splits: statistics by the name of the split, ready for JSON.
    sheet: name of the picture beside the report.
    """

    class_num: int
    findings: "list[Finding]" = field(default_factory=list)
    splits: "dict[str, dict[str, Any]]" = field(default_factory=dict)
    sheet: Optional[str] = None

    def of(self, severity: Severity) -> "list[Finding]":
        return [finding for finding in self.findings if finding.severity == severity]

    def to_json(self) -> "dict[str, Any]":
        """The report as JSON writes it."""
        return {
            "is_clean": not self.of("error"),
            "class_num": self.class_num,
            "errors": [vars(finding) for finding in self.of("error")],
            "warnings": [vars(finding) for finding in self.of("warning")],
            "splits": self.splits,
            "sheet": self.sheet,
        }

    def __str__(self) -> str:
        blocks = [_describe(name, numbers) for name, numbers in self.splits.items()]
        for title, severity in (("Errors", "error"), ("Warnings", "warning")):
            findings = self.of(severity)
            if findings:
                blocks.append("\n".join([f"{title}:", *(f"- {finding}" for finding in findings)]))
        return "\n\n".join(blocks)


def _describe(name: str, numbers: "dict[str, Any]") -> str:
    """The statistics of one split as lines."""
    speed = f"{numbers['seconds']:.1f} s, {numbers['images_per_second']:.0f} images/s"
    lines = [f"{name}: {numbers['images']} images, {numbers['readable']} readable ({speed})"]
    balance = numbers["balance"]
    if balance and balance["min"] == balance["max"]:
        lines.append(f"  images per class  {balance['min']}")
    elif balance:
        lines.append(
            f"  images per class  {balance['min']} ({balance['smallest']}) to {balance['max']} "
            f"({balance['largest']}), median {balance['median']:g}"
        )
    for side in ("width", "height", "aspect"):
        if side in numbers:
            low, middle, high = (numbers[side][key] for key in ("min", "median", "max"))
            lines.append(f"  {side:<17} {low:g} to {high:g}, median {middle:g}")
    for what in ("formats", "modes"):
        if numbers[what]:
            counts = ", ".join(f"{key} {count}" for key, count in numbers[what].items())
            lines.append(f"  {what:<17} {counts}")
    if numbers["exif_rotated"]:
        lines.append(f"  EXIF-rotated      {numbers['exif_rotated']}")
    if numbers.get("input_size"):
        width, height = numbers["input_size"]
        lines.append(
            f"  model reads       {width}x{height}; {numbers['smaller_than_input']} images are "
            "smaller"
        )
    return "\n".join(lines)
