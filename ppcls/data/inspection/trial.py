"""Runs the transforms on the images that are most likely to break them."""

from typing import Any, Optional

import numpy as np

from ppcls.data.batching import BatchMaker
from ppcls.data.inspection.findings import Finding
from ppcls.data.inspection.survey import Survey
from ppcls.data.randomness import SampleKey
from ppcls.errors import DataError

#: Draws of each image, since operators are random.
_DRAWS = 2


def try_transforms(
    split: str, dataset: Any, found: Survey, seed: int
) -> "tuple[Optional[tuple[int, int]], Optional[Finding]]":
    """Transforms the smallest, largest, narrowest, widest and a few other images.

    Returns:
        (width, height) of what the model reads, None if no image can be transformed; and a
        finding if one cannot.
    """
    make = BatchMaker(dataset, [], seed)
    size = None
    faults = []
    for index in unusual_images(found, seed):
        for draw in range(_DRAWS):
            try:
                (images, *_), _ = make([SampleKey(draw, index)])
            except DataError as error:
                faults.append(str(error))
                break
            # Multi-scale training reads several sizes: the largest counts.
            size = max(size or (0, 0), (images.shape[3], images.shape[2]))
    if not faults:
        return size, None
    message = "transform_ops that fail on readable images"
    return size, Finding("error", "transform", split, len(faults), message, faults)


def unusual_images(found: Survey, seed: int) -> "list[int]":
    """Indices of readable images: the extremes of size and shape, and four random ones."""
    readable = np.flatnonzero(found.is_readable)
    if not len(readable):
        return []
    width, height = found.sizes[readable].T.astype(np.int64)
    extremes = {
        int(readable[choice])
        for choice in (
            np.minimum(width, height).argmin(),
            (width * height).argmax(),
            (width / height).argmin(),
            (width / height).argmax(),
        )
    }
    random = np.random.RandomState(seed).choice(readable, min(4, len(readable)), replace=False)
    return sorted(extremes | {int(index) for index in random})
