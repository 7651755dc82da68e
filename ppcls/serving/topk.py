"""How many classes an answer has: `topk` of the request, or what the export says."""

from typing import Any, Optional

import numpy as np

from ppcls.inference.postprocess import topk_spec
from ppcls.registry import POSTPROCESSES
from ppcls.serving.errors import Unprocessable


def parse_topk(text: Optional[str]) -> Optional[int]:
    """`topk` of a query, a form, or a pair of texts.

    Raises:
        Unprocessable: it is not a positive whole number.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise Unprocessable("topk: expected a positive whole number")
    return int(text)


def choose_classes(
    exported: Any, probabilities: np.ndarray, topk: Optional[int]
) -> "list[dict[str, Any]]":
    """(B, class_num) -> `{"class_ids", "scores", "label_names"}` per image.

    Args:
        exported: the postprocess of the export; chooses if `topk` is None. One that describes
            attributes in words cannot, then all classes are given.
    """
    postprocess = exported
    if topk is None and "class_ids" not in exported.columns:
        topk = probabilities.shape[1]
    if topk is not None:
        postprocess = POSTPROCESSES.build(topk_spec(exported.activation, topk))
        postprocess.set_label_names(exported.label_names)
    return postprocess(probabilities)
