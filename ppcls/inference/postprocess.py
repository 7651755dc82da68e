"""From class probabilities to PaddleClas's prediction dictionaries.

`activation` of a postprocess says which probabilities it takes: "softmax" for one class per image,
"sigmoid" for several.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np

from ppcls.config.types import NonNegativeInt, PositiveInt, Probability
from ppcls.errors import ConfigError, DataError
from ppcls.inference import attributes  # noqa: F401  (registers its postprocesses)
from ppcls.registry import POSTPROCESSES, parse_spec


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of each value, in float32; exact for large values of either sign."""
    return np.exp(-np.logaddexp(0, -logits))


ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid}


def topk_spec(activation: str, topk: int) -> "dict[str, Any]":
    """The postprocess, as in YAML, that gives the `topk` most probable classes."""
    return {"name": "MultiLabelTopk" if activation == "sigmoid" else "Topk", "topk": topk}


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


def label_names_of(config: "Mapping[str, Any]") -> "dict[int, str]":
    """What `Infer.PostProcess.class_id_map_file` says; nothing if there is no such file."""
    spec = (config.get("Infer") or {}).get("PostProcess")
    arguments = parse_spec(spec)[1] if spec else {}
    path = arguments.get("class_id_map_file")
    if not path or not Path(path).is_file():
        return {}
    return read_label_names(path, arguments.get("delimiter") or " ")


class _Labelled:
    """Knows the names of classes, from a file or from what `set_label_names` was given."""

    activation = "softmax"
    #: Keys of a prediction; the last one only where names are known.
    columns = ("class_ids", "scores", "label_names")

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
class MultiLabelTopk(Topk):
    """The `topk` most probable of an image's several classes, most probable first."""

    activation = "sigmoid"


@POSTPROCESSES.register()
class ThreshOutput(_Labelled):
    """The most probable class if its probability is high enough, else a default one.

    Of two classes, class 1 is chosen from `threshold` on, else class 0. Of more, the most probable
    class is chosen above `threshold`, else class `default_label_index`.

    Args:
        threshold: the least probability.
        default_label_index: of more than two classes, the one below it.
        label_0: name of class 0 of two.
        label_1: name of class 1 of two.
        class_id_map_file: label map; its names come before `label_0` and `label_1`.
        delimiter: of the label map.
    """

    def __init__(
        self,
        threshold: Probability = 0.0,
        default_label_index: NonNegativeInt = 0,
        label_0: Optional[str] = None,
        label_1: Optional[str] = None,
        class_id_map_file: Optional[str] = None,
        delimiter: Optional[str] = None,
    ):
        super().__init__(class_id_map_file, delimiter)
        self.threshold = threshold
        self.default_label_index = default_label_index
        if not self.label_names and (label_0 is not None or label_1 is not None):
            self.label_names = {0: label_0 or "0", 1: label_1 or "1"}

    def __call__(self, probabilities: np.ndarray) -> "list[dict[str, Any]]":
        """probabilities: (B, class_num) -> a dictionary per image."""
        return [self._result(row, [self._choose(row)]) for row in probabilities]

    def _choose(self, row: np.ndarray) -> int:
        if len(row) == 2:
            return int(row[1] >= self.threshold)
        best = int(row.argmax())
        return best if row[best] > self.threshold else self.default_label_index


@POSTPROCESSES.register()
class MultiLabelThreshOutput(_Labelled):
    """Every class whose probability is at least `threshold`, in the order of classes."""

    activation = "sigmoid"

    def __init__(
        self,
        threshold: Probability = 0.5,
        class_id_map_file: Optional[str] = None,
        delimiter: Optional[str] = None,
    ):
        super().__init__(class_id_map_file, delimiter)
        self.threshold = threshold

    def __call__(self, probabilities: np.ndarray) -> "list[dict[str, Any]]":
        """probabilities: (B, class_num) -> a dictionary per image; its lists may be empty."""
        return [
            self._result(row, np.flatnonzero(row >= self.threshold).tolist())
            for row in probabilities
        ]


@POSTPROCESSES.register()
class DistillationPostProcess:
    """The postprocess `func`, of the model that a `DistillationModel` infers with.

    An exported folder holds that model alone and names `func` itself.

    Args:
        func: name of the postprocess.
        model_name: must be `Arch.infer_model_name`.
        key: which output are the logits; accepted from PaddleClas files.
        topk, threshold, class_id_map_file, delimiter: of the postprocess.

    Raises:
        ConfigError: the postprocess does not take one of them.
    """

    def __init__(
        self,
        func: Literal["Topk", "ThreshOutput", "MultiLabelTopk", "MultiLabelThreshOutput"] = "Topk",
        model_name: str = "Student",
        key: Optional[str] = None,
        topk: Optional[PositiveInt] = None,
        threshold: Optional[Probability] = None,
        class_id_map_file: Optional[str] = None,
        delimiter: Optional[str] = None,
    ):
        self.model_name = model_name
        arguments = {
            "topk": topk,
            "threshold": threshold,
            "class_id_map_file": class_id_map_file,
            "delimiter": delimiter,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        wrong = set(given) - set(inspect.signature(POSTPROCESSES.get(func)).parameters)
        if wrong:
            raise ConfigError(f"Infer.PostProcess: {func} takes no {', '.join(sorted(wrong))}")
        #: `{"name": func, ...}`.
        self.spec = {"name": func, **given}
