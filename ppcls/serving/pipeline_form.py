"""The pairs of texts that Paddle Serving's pipelines take and give, over HTTP and gRPC.

A request pairs `key` with `value`. Each value is the base64 of an image, whatever its key is
called, as in PaddleClas's services; the key `topk` asks for more than the most probable class.
Every value of an answer is a text: `label` and `prob` are Python lists of a label and a score per
image, or of `topk` of them per image; `result` is JSON, a list of
`{"class_ids": [...], "scores": [...], "label_names": [...]}` per image.
"""

import json
from collections.abc import Sequence
from typing import Any, Optional

from ppcls.serving.errors import Unprocessable
from ppcls.serving.topk import parse_topk

#: Pairs that clients of Paddle Serving add, which are no images.
_OF_CLIENTS = ("pipeline.profile",)


def read_pairs(keys: Sequence[str], values: Sequence[str]) -> "tuple[list[str], Optional[int]]":
    """The images of a request, as texts, and `topk`.

    Raises:
        Unprocessable: keys and values do not fit, or there is no image.
    """
    if len(keys) != len(values):
        raise Unprocessable(f"{len(keys)} keys, but {len(values)} values")
    pairs = dict(zip(keys, values))
    if len(pairs) < len(keys):
        raise Unprocessable("key: every key must be another one")
    topk = parse_topk(pairs.pop("topk", None))
    images = [text for key, text in pairs.items() if key not in _OF_CLIENTS]
    if not images:
        raise Unprocessable("value: there is no image")
    return images, topk


def write_answer(results: "list[dict[str, Any]]", topk: Optional[int]) -> "dict[str, str]":
    """An answer to a request with `topk`.

    Args:
        results: predictions with `topk` classes, with one class where `topk` is None.
    """
    has_names = "label_names" in results[0]
    labels = [result["label_names" if has_names else "class_ids"] for result in results]
    scores = [result["scores"] for result in results]
    if topk is None:
        labels, scores = ([row[0] for row in rows] for rows in (labels, scores))
    return {
        "label": str(labels),
        "prob": str(scores),
        "result": json.dumps(results, ensure_ascii=False),
    }
