"""Finding equal and nearly equal images among millions, by sorting a few bytes of each."""

from collections.abc import Iterator

import numpy as np

#: Bits of a perceptual signature that may differ between images that count as nearly equal. Their
#: number plus one divides a signature into bands of which at least one must be equal.
NEAR_DISTANCE = 7
_BANDS = NEAR_DISTANCE + 1
_MAX_BAND_GROUP = 500


def equal_groups(digests: np.ndarray, is_valid: np.ndarray) -> "list[np.ndarray]":
    """The positions of equal digests: an array of ascending positions for each that occurs twice.

    Args:
        digests: (N, 16) uint8.
        is_valid: (N,) bool; the others are in no group.

    Returns:
        Groups ordered by their first positions.
    """
    valid = np.flatnonzero(is_valid)
    high, low = np.ascontiguousarray(digests).view(np.uint64)[valid].T
    order = np.lexsort((low, high))
    high, low, order = high[order], low[order], valid[order]
    is_start = np.ones(len(order), bool)
    is_start[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(is_start)
    ends = np.append(starts[1:], len(order))
    is_group = ends - starts > 1
    # lexsort is stable, so positions ascend within a group.
    groups = [order[start:end] for start, end in zip(starts[is_group], ends[is_group])]
    return sorted(groups, key=lambda group: group[0])


def near_pairs(signatures: np.ndarray) -> "Iterator[tuple[int, int, int]]":
    """(first, second, differing bits) of every pair with at most `NEAR_DISTANCE` differing bits.

    Signatures that share a band with more than 500 others are compared with the next 500 only.

    Args:
        signatures: (N, 16) uint8.
    """
    seen = set()
    for band in range(_BANDS):
        width = signatures.shape[1] // _BANDS
        key = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        key = key.view(np.uint16 if width == 2 else np.uint8).ravel()
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
        for group in np.split(order, starts[1:]):
            for first, second, bits in _close(signatures, group):
                if (first, second) not in seen:
                    seen.add((first, second))
                    yield first, second, bits


def _close(signatures: np.ndarray, group: np.ndarray) -> "Iterator[tuple[int, int, int]]":
    for position, first in enumerate(group[:-1]):
        others = group[position + 1 : position + 1 + _MAX_BAND_GROUP]
        bits = np.unpackbits(signatures[others] ^ signatures[first], axis=1).sum(axis=1)
        for other in np.flatnonzero(bits <= NEAR_DISTANCE):
            yield int(first), int(others[other]), int(bits[other])
