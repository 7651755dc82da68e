"""From class probabilities to PaddleClas's prediction dictionaries."""

from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from ppcls.config.types import PositiveInt, Probability
from ppcls.errors import DataError
from ppcls.registry import POSTPROCESSES


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def read_label_names(path: Union[str, Path], delimiter: str = " ") -> "dict[int, str]":
    """Reads a label map, one `id<delimiter>name` a line.

    Raises:
        DataError: the file or a line cannot be read; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"class_id_map_file {path} cannot be read: {error}") from error
    names = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        class_id, _, name = line.partition(delimiter)
        try:
            names[int(class_id)] = name.strip()
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected `id{delimiter}name`, found {line!r}"
            ) from None
    return names


class _Labelled:
    """Knows the names of classes, from a file or from what `set_label_names` was given."""

    def __init__(self, class_id_map_file: Optional[str], delimiter: Optional[str]):
        self.label_names: dict[int, str] = {}
        if class_id_map_file is not None:
            self.label_names = read_label_names(class_id_map_file, delimiter or " ")

    def set_label_names(self, names: "dict[int, str]") -> None:
        """Names that came with the exported folder."""
        self.label_names = dict(names)

    def _result(self, probabilities: np.ndarray, class_ids: "list[int]") -> "dict[str, Any]":
        result: dict[str, Any] = {
            "class_ids": class_ids,
            "scores": [round(float(probabilities[i]), 5) for i in class_ids],
        }
        if self.label_names:
            result["label_names"] = [self.label_names.get(i, str(i)) for i in class_ids]
        return result


@POSTPROCESSES.register()
class Topk(_Labelled):
    """The `topk` most probable classes, most probable first."""

    def __init__(
        self,
        topk: PositiveInt = 1,
        class_id_map_file: Optional[str] = None,
        delimiter: Optional[str] = None,
    ):
        super().__init__(class_id_map_file, delimiter)
        self.topk = topk

    def __call__(self, probabilities: np.ndarray) -> "list[dict[str, Any]]":
        """probabilities: (B, class_num) -> a dictionary per image."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.topk]
        return [self._result(row, ids.tolist()) for row, ids in zip(probabilities, order)]


@POSTPROCESSES.register()
class ThreshOutput(_Labelled):
    """The most probable class if it exceeds `threshold`, else class `default_label_index`."""

    def __init__(
        self,
        threshold: Probability = 0.0,
        default_label_index: int = 0,
        class_id_map_file: Optional[str] = None,
        delimiter: Optional[str] = None,
    ):
        super().__init__(class_id_map_file, delimiter)
        self.threshold = threshold
        self.default_label_index = default_label_index

    def __call__(self, probabilities: np.ndarray) -> "list[dict[str, Any]]":
        """probabilities: (B, class_num) -> a dictionary per image."""
        results = []
        for row in probabilities:
            best = int(row.argmax())
            class_id = best if row[best] > self.threshold else self.default_label_index
            results.append(self._result(row, [class_id]))
        return results
