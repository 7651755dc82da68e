"""Finding equal and nearly equal images among millions, by sorting a few bytes of each."""

from collections.abc import Callable, Iterator

import numpy as np

#: Bits that may differ between the signatures of images that may be alike: fewer than a signature
#: has bands of 16 bits, so that at least one band must be equal.
NEAR_DISTANCE = 7
#: Bands of 16 bits of a signature.
BANDS = 8
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


def near_pairs(
    signatures: np.ndarray, advance: Callable[[int], None]
) -> "Iterator[tuple[int, int]]":
    """Every pair of positions whose signatures differ in at most `NEAR_DISTANCE` bits, once.

    Signatures that share a band with more than 500 others are compared with the next 500 only.

    Args:
        signatures: (N, 16) uint8.
        advance: called with the number of signatures compared, `BANDS * N` in all.
    """
    seen = set()
    bands = np.ascontiguousarray(signatures).view(np.uint16)
    for key in bands.T:
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
        for group in np.split(order, starts[1:]):
            for pair in _close(signatures, group):
                if pair not in seen:
                    seen.add(pair)
                    yield pair
            advance(len(group))


def _close(signatures: np.ndarray, group: np.ndarray) -> "Iterator[tuple[int, int]]":
    for position, first in enumerate(group[:-1]):
        others = group[position + 1 : position + 1 + _MAX_BAND_GROUP]
        bits = np.unpackbits(signatures[others] ^ signatures[first], axis=1).sum(axis=1)
        for other in np.flatnonzero(bits <= NEAR_DISTANCE):
            yield int(first), int(others[other])
