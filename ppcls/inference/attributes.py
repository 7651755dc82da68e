"""Postprocesses that put recognised attributes into words, those of PaddleClas's PULC models.

Their predictions are `{"attributes": words, "output": 0 or 1 per attribute}`.
"""

from abc import ABC, abstractmethod
from typing import Any, Union

import numpy as np

from ppcls.config.types import Probability
from ppcls.errors import ConfigError
from ppcls.registry import POSTPROCESSES


class _Attributes(ABC):
    """An attribute is present where its probability is above its threshold.

    Args:
        thresholds: one per attribute.
    """

    activation = "sigmoid"
    #: Keys of a prediction.
    columns = ("attributes", "output")

    def __init__(self, thresholds: "list[float]"):
        self.thresholds = np.array(thresholds)
        self.label_names: dict[int, str] = {}

    def set_label_names(self, names: "dict[int, str]") -> None:
        """Names that came with the exported folder; the words here are others."""
        self.label_names = dict(names)

    def __call__(self, probabilities: np.ndarray) -> "list[dict[str, Any]]":
        """probabilities: (B, attributes) -> a dictionary per image.

        Raises:
            ConfigError: the model has another number of outputs.
        """
        if probabilities.shape[1] != len(self.thresholds):
            raise ConfigError(
                f"Infer.PostProcess: {type(self).__name__} describes {len(self.thresholds)} "
                f"attributes, but the model has {probabilities.shape[1]} outputs"
            )
        results = []
        for row in probabilities:
            present = row > self.thresholds
            words = self._describe(row, present)
            results.append({"attributes": words, "output": present.astype(int).tolist()})
        return results

    @abstractmethod
    def _describe(self, row: np.ndarray, present: np.ndarray) -> "Union[str, list[str]]":
        """The attributes of one image, in words."""


def _most_probable(names: "list[str]", row: np.ndarray) -> str:
    return names[int(row.argmax())]


@POSTPROCESSES.register()
class PersonAttribute(_Attributes):
    """The 26 attributes of a person of PA-100K, in the order of `PULC/person_attribute`.

    Args:
        threshold: of all attributes but these two.
        glasses_threshold: of glasses.
        hold_threshold: of objects held in front.
    """

    UPPER = ["UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice"]
    LOWER = ["LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress"]
    BAGS = ["HandBag", "ShoulderBag", "Backpack"]
    AGES = ["AgeLess18", "Age18-60", "AgeOver60"]
    DIRECTIONS = ["Front", "Side", "Back"]

    def __init__(
        self,
        threshold: Probability = 0.5,
        glasses_threshold: Probability = 0.3,
        hold_threshold: Probability = 0.6,
    ):
        thresholds = [threshold] * 26
        thresholds[1], thresholds[18] = glasses_threshold, hold_threshold
        super().__init__(thresholds)

    def _describe(self, row: np.ndarray, present: np.ndarray) -> "list[str]":
        upper = [name for name, is_there in zip(self.UPPER, present[4:8]) if is_there]
        lower = [name for name, is_there in zip(self.LOWER, present[8:14]) if is_there]
        lower = lower or [_most_probable(self.LOWER, row[8:14])]
        return [
            "Female" if present[22] else "Male",
            _most_probable(self.AGES, row[19:22]),
            _most_probable(self.DIRECTIONS, row[23:26]),
            f"Glasses: {bool(present[1])}",
            f"Hat: {bool(present[0])}",
            f"HoldObjectsInFront: {bool(present[18])}",
            _most_probable(self.BAGS, row[15:18]) if present[15:18].any() else "No bag",
            " ".join(["Upper:", "LongSleeve" if row[3] > row[2] else "ShortSleeve", *upper]),
            # With two blanks, as programs that read PaddleClas's words expect.
            " ".join(["Lower: ", *lower]),
            "Boots" if present[14] else "No boots",
        ]


@POSTPROCESSES.register()
class VehicleAttribute(_Attributes):
    """Ten colours and nine types of a vehicle of VeRi, in the order of `PULC/vehicle_attribute`.

    Args:
        color_threshold: below it the colour is unknown.
        type_threshold: below it the type is unknown.
    """

    COLORS = [
        "yellow",
        "orange",
        "green",
        "gray",
        "red",
        "blue",
        "white",
        "golden",
        "brown",
        "black",
    ]
    TYPES = ["sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate"]

    def __init__(self, color_threshold: Probability = 0.5, type_threshold: Probability = 0.5):
        super().__init__([color_threshold] * len(self.COLORS) + [type_threshold] * len(self.TYPES))

    def _describe(self, row: np.ndarray, present: np.ndarray) -> str:
        count = len(self.COLORS)
        colour = self._best("Color", self.COLORS, row[:count], self.thresholds[0])
        return f"{colour}, {self._best('Type', self.TYPES, row[count:], self.thresholds[-1])}"

    @staticmethod
    def _best(what: str, names: "list[str]", row: np.ndarray, threshold: float) -> str:
        best = int(row.argmax())
        probability = float(row[best])
        if probability < threshold:
            return f"{what} unknown"
        return f"{what}: ({names[best]}, prob: {probability})"


@POSTPROCESSES.register()
class TableAttribute(_Attributes):
    """Six attributes of a picture of a table, in the order of `PULC/table_attribute`.

    Args:
        source_threshold: of a scan, not a photo.
        number_threshold: of few cells.
        color_threshold: of black and white.
        clarity_threshold: of a clear picture.
        obstruction_threshold: of nothing being in front.
        angle_threshold: of a table that is not tilted.
    """

    WORDS = [
        ("Photo", "Scanned"),
        ("Numerous", "Little"),
        ("Multicolor", "Black-and-White"),
        ("Blurry", "Clear"),
        ("With-Obstacles", "Without-Obstacles"),
        ("Tilted", "Horizontal"),
    ]

    def __init__(
        self,
        source_threshold: Probability = 0.5,
        number_threshold: Probability = 0.5,
        color_threshold: Probability = 0.5,
        clarity_threshold: Probability = 0.5,
        obstruction_threshold: Probability = 0.5,
        angle_threshold: Probability = 0.5,
    ):
        super().__init__(
            [
                source_threshold,
                number_threshold,
                color_threshold,
                clarity_threshold,
                obstruction_threshold,
                angle_threshold,
            ]
        )

    def _describe(self, row: np.ndarray, present: np.ndarray) -> "list[str]":
        return [words[int(is_there)] for words, is_there in zip(self.WORDS, present)]
