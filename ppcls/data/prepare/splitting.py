"""Which samples are held out: chosen by a seed, in proportion from every class."""

import numpy as np

TRAIN, VAL, TEST = "train", "val", "test"
PARTS = (TRAIN, VAL, TEST)
#: Samples that the split has still to place.
FREE = ""


def split_free(
    parts: np.ndarray,
    labels: np.ndarray,
    val_fraction: float,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Places the samples whose part is `FREE`; the others stay where they are.

    Asking for a test part does not change the validation part.

    Args:
        parts: (N,) texts, each one of `PARTS` or `FREE`.
        labels: (N,) int, or (N, C) of 0 and 1 (other numbers count as 0).
        val_fraction: part of the free samples that goes to validation; 0 for none.
        test_fraction: part of the free samples that goes to the test.
        seed: of the choice.

    Returns:
        (N,) texts, each one of `PARTS`.
    """
    parts = parts.copy()
    left = 1.0
    for part, fraction in ((VAL, val_fraction), (TEST, test_fraction)):
        free = np.flatnonzero(parts == FREE)
        if fraction and len(free):
            split = stratified_split if labels.ndim == 1 else split_multi_label
            chosen = split(labels[free], fraction / left, seed)
            parts[free[chosen]] = part
        left -= fraction
    parts[parts == FREE] = TRAIN
    return parts


def stratified_split(labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Chooses samples from every class in proportion to its size.

    The total is `fraction` of all samples, rounded up. Of a class with more than one sample, at
    least one is chosen and at least one is not.

    Args:
        labels: (N,) int.

    Returns:
        (N,) bool, true for the chosen.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * fraction
    taken = np.floor(shares).astype(int)
    missing = int(np.ceil(shares.sum() - 1e-9)) - taken.sum()
    # Largest remainders first; among equal ones the first class.
    taken[np.argsort(taken - shares, kind="stable")[:missing]] += 1
    taken = np.where(counts > 1, np.clip(taken, 1, counts - 1), 0)
    is_chosen = np.zeros(len(labels), dtype=bool)
    # RandomState's stream never changes between NumPy versions, Generator's may.
    random = np.random.RandomState(seed)
    for class_id, count in zip(classes, taken):
        members = np.flatnonzero(labels == class_id)
        is_chosen[random.permutation(members)[:count]] = True
    return is_chosen


def split_multi_label(labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Chooses samples so that every class keeps its share on both sides.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label data"):
    the class with the fewest samples left is dealt out first, each of its samples to the side that
    lacks more of that class, then to the one that lacks more samples. Samples without any label
    are dealt last.

    Args:
        labels: (N, C); 1 where a label is present.

    Returns:
        (N,) bool, true for the chosen.
    """
    present = labels == 1
    count = len(labels)
    wanted = np.array([1 - fraction, fraction])
    lacks_samples = wanted * count
    lacks = wanted[:, None] * present.sum(axis=0)
    is_chosen = np.zeros(count, dtype=bool)
    is_left = np.ones(count, dtype=bool)
    order = np.random.RandomState(seed).permutation(count)
    for _ in range(present.shape[1]):
        remaining = present[is_left].sum(axis=0)
        if not remaining.any():
            break
        rarest = np.where(remaining > 0, remaining, count + 1).argmin()
        for index in order[is_left[order] & present[order, rarest]]:
            side = _needier(lacks[:, rarest], lacks_samples)
            is_chosen[index], is_left[index] = bool(side), False
            lacks[side, present[index]] -= 1
            lacks_samples[side] -= 1
    for index in order[is_left[order]]:
        side = int(lacks_samples[1] > lacks_samples[0])
        is_chosen[index] = bool(side)
        lacks_samples[side] -= 1
    return is_chosen


def _needier(lacks: np.ndarray, lacks_samples: np.ndarray) -> int:
    if lacks[0] != lacks[1]:
        return int(lacks[1] > lacks[0])
    return int(lacks_samples[1] > lacks_samples[0])
