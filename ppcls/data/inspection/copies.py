"""Images that occur more than once: within a split, in two splits, with two labels."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ppcls.data.inspection.duplicates import BANDS, equal_groups, near_pairs
from ppcls.data.inspection.findings import KEPT_EXAMPLES, Finding
from ppcls.data.inspection.image_facts import examine, likeness
from ppcls.data.inspection.survey import Survey
from ppcls.utils.progress import Progress

#: Correlation from which images count as alike. Of 320 photos, scaled to 0.4 and compressed anew,
#: all reach 0.994, brightened too, 0.978; different garments on the same ground reach 0.963.
ALIKE = 0.975
_MAX_CANDIDATES = 50_000


class _Member(NamedTuple):
    split: str
    index: int
    path: str
    label: Any


class _Tally:
    """Counts, and keeps the first examples."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < KEPT_EXAMPLES:
            self.examples.append(example)


class Copies:
    """Looks for copies among all splits.

    Args:
        datasets: by split, the one that is trained on first.
        surveys: by split.
    """

    def __init__(self, datasets: Mapping[str, Any], surveys: Mapping[str, Survey]):
        self.datasets = datasets
        self.splits = list(datasets)
        self.starts = np.cumsum([0, *(len(datasets[split]) for split in self.splits)])
        self.surveys = [surveys[split] for split in self.splits]

    def identical(self) -> "list[Finding]":
        """Findings about files with equal contents."""
        repeated = {split: _Tally() for split in self.splits}
        copied = {split: _Tally() for split in self.splits}
        contradicting = _Tally()
        leaked = {split: _Tally() for split in self.splits[1:]}
        digests = np.concatenate([survey.digests for survey in self.surveys])
        was_read = np.concatenate([survey.was_read for survey in self.surveys])
        for group in equal_groups(digests, was_read):
            members = [self._member(position) for position in group]
            for split in self.splits:
                _tally_within(
                    [m for m in members if m.split == split], repeated[split], copied[split]
                )
            first = members[0]
            other = next((m for m in members if not np.array_equal(m.label, first.label)), None)
            if other is not None:
                contradicting.add(f"{_labelled(first)} = {_labelled(other)}", len(members))
            for split in self.splits[1:]:
                here = [m for m in members if m.split == split]
                if here and here[0].split != first.split:
                    leaked[split].add(f"{here[0].path} = {first.path}", len(here))
        return [
            *(self._leakage(split, tally) for split, tally in leaked.items() if tally.count),
            *_contradictions(" and ".join(self.splits), contradicting),
            *(_repetition(split, tally) for split, tally in repeated.items() if tally.count),
            *(_duplication(split, tally) for split, tally in copied.items() if tally.count),
        ]

    def near(self) -> "list[Finding]":
        """Findings about images that look alike but are not identical; needs signatures.

        Signatures propose pairs, and the images of the first 50,000 are compared.
        """
        within, between = [], []
        digests = np.concatenate([survey.digests for survey in self.surveys])
        signatures = np.concatenate([survey.signatures for survey in self.surveys])
        valid = np.flatnonzero(np.concatenate([survey.has_signature for survey in self.surveys]))
        with Progress(BANDS * len(valid), "Comparing", "signatures") as progress:
            candidates = near_pairs(signatures[valid], progress.advance)
            for one, two in islice(candidates, _MAX_CANDIDATES):
                if np.array_equal(digests[valid[one]], digests[valid[two]]):
                    continue
                first, second = self._member(valid[one]), self._member(valid[two])
                score = likeness(self._pixels(first), self._pixels(second))
                if score >= ALIKE:
                    pairs = within if first.split == second.split else between
                    labels = "" if np.array_equal(first.label, second.label) else ", labels differ"
                    pairs.append((score, f"{first.path} ~ {second.path} ({score:.3f}{labels})"))
        findings = []
        for kind, pairs, which in (
            ("near_leakage", between, "different splits"),
            ("near_duplicate", within, "one split"),
        ):
            if pairs:
                examples = [text for _, text in sorted(pairs, reverse=True)[:KEPT_EXAMPLES]]
                message = f"pairs of images of {which} that look alike: {len(pairs)}"
                where = " and ".join(self.splits)
                findings.append(Finding("warning", kind, where, len(pairs), message, examples))
        return findings

    def _pixels(self, member: _Member) -> np.ndarray:
        return examine(self.datasets[member.split].read(member.index))[1]

    def _member(self, position: int) -> _Member:
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        split, index = self.splits[number], int(position - self.starts[number])
        dataset = self.datasets[split]
        return _Member(split, index, dataset.path(index), dataset.labels[index])

    def _leakage(self, split: str, tally: _Tally) -> Finding:
        total = len(self.datasets[split])
        message = (
            f"images that are in another split, too: {tally.count} of {total} "
            f"({tally.count / total:.1%}); the score on them says nothing"
        )
        return Finding("error", "leakage", split, *_as_arguments(tally, message))


def _tally_within(members: "list[_Member]", repeated: _Tally, copied: _Tally) -> None:
    """Counts the second and further members of a split: the same file again, or another."""
    if len(members) < 2:
        return
    paths = {members[0].path}
    for member in members[1:]:
        if member.path in paths:
            repeated.add(member.path)
        else:
            copied.add(f"{member.path} = {members[0].path}")
        paths.add(member.path)


def _contradictions(where: str, tally: _Tally) -> "list[Finding]":
    if not tally.count:
        return []
    message = f"identical images with different labels: {tally.count}"
    return [Finding("error", "conflicting_labels", where, *_as_arguments(tally, message))]


def _repetition(split: str, tally: _Tally) -> Finding:
    message = f"images listed again: {tally.count}"
    return Finding("warning", "listed_twice", split, *_as_arguments(tally, message))


def _duplication(split: str, tally: _Tally) -> Finding:
    message = f"images identical to an earlier one of the split: {tally.count}"
    return Finding("warning", "duplicate", split, *_as_arguments(tally, message))


def _as_arguments(tally: _Tally, message: str) -> "tuple[int, str, list[str]]":
    return tally.count, message, tally.examples


def _labelled(member: _Member) -> str:
    label = member.label
    shown = ",".join(map(str, label)) if np.ndim(label) else label
    return f"{member.path} (label {shown})"
