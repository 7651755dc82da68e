"""Decodes the images of a source and leaves out those that should not be learned from."""

import numpy as np

from ppcls.data.inspection.duplicates import equal_groups
from ppcls.data.inspection.survey import survey
from ppcls.data.prepare.lists import Images
from ppcls.data.prepare.splitting import FREE, TEST, TRAIN, VAL

#: Of identical images, the one in the last of these parts is kept: training must not see it.
_ORDER = {FREE: 0, TRAIN: 0, VAL: 1, TEST: 2}


def without_unusable(images: Images, jobs: int, keep_duplicates: bool) -> Images:
    """Without images that cannot be decoded and, unless wanted, without copies of others.

    Of identical files with one label, one is kept: that of the test, else of validation, else the
    first. Identical files with different labels are all left out, since nobody knows which of the
    labels is right. `left_out` of the result says so.
    """
    found = survey(images, "Checking", jobs, keep_all_faults=True)
    keep = found.is_readable.copy()
    for fault in found.faults:
        images.left_out[images.names[fault.index]] = fault.reason
    if not keep_duplicates:
        for group in equal_groups(found.digests, keep):
            _judge(images, group, keep)
    return images if keep.all() else images.take(keep)


def _judge(images: Images, group: np.ndarray, keep: np.ndarray) -> None:
    first = group[0]
    different = [i for i in group if np.any(images.labels[i] != images.labels[first])]
    if different:
        for index in group:
            other = different[0] if index not in different else first
            images.left_out[images.names[index]] = (
                f"identical to {images.names[other]}, which has another label"
            )
            keep[index] = False
        return
    kept = max(group, key=lambda i: (_ORDER[str(images.parts[i])], -i))
    for index in group:
        if index != kept:
            part = images.parts[kept]
            where = f" of the {part} part" if part not in ("", images.parts[index]) else ""
            images.left_out[images.names[index]] = f"identical to {images.names[kept]}{where}"
            keep[index] = False
