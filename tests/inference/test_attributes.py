"""Postprocesses of attributes, against those of the PyPI package `paddleclas`."""

import numpy as np
import pytest

from ppcls.commands.predict import format_result
from ppcls.config import check_config
from ppcls.errors import ConfigError
from ppcls.registry import POSTPROCESSES

CASES = {
    "PersonAttribute": (26, {"threshold": 0.5, "glasses_threshold": 0.3, "hold_threshold": 0.6}),
    "VehicleAttribute": (19, {"color_threshold": 0.5, "type_threshold": 0.4}),
    "TableAttribute": (6, {"clarity_threshold": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_words_are_those_of_paddleclas(name):
    paddleclas = pytest.importorskip("paddleclas.deploy.python.postprocess")
    count, arguments = CASES[name]
    probabilities = np.random.default_rng(3).random((200, count), dtype=np.float32)
    probabilities[:20] *= 0.5  # nothing is certain
    ours = POSTPROCESSES.build({"name": name, **arguments})(probabilities)
    assert ours == getattr(paddleclas, name)(**arguments)(probabilities)


def test_thresholds_are_compared_with_their_own_attributes():
    row = np.full((1, 6), 0.7)
    table = POSTPROCESSES.build(
        {"name": "TableAttribute", "angle_threshold": 0.8, "obstruction_threshold": 0.9}
    )
    (result,) = table(row)
    assert result["output"] == [1, 1, 1, 1, 0, 0]
    assert result["attributes"][:4] == ["Scanned", "Little", "Black-and-White", "Clear"]
    assert result["attributes"][4:] == ["With-Obstacles", "Tilted"]


def test_the_number_of_outputs_must_fit():
    with pytest.raises(ConfigError, match="describes 26 attributes, but the model has 4 outputs"):
        POSTPROCESSES.build("PersonAttribute")(np.zeros((2, 4)))


def test_a_line_per_image():
    result = {"attributes": ["Photo"], "output": [0], "file_name": "tables/a.png"}
    assert format_result(result) == "a.png:\t {'attributes': ['Photo'], 'output': [0]}"


def test_configurations():
    for name, (_, arguments) in CASES.items():
        infer = {"PostProcess": {"name": name, **arguments}}
        _, faults = check_config({"Arch": {"name": "DSNet_tiny", "class_num": 3}, "Infer": infer})
        assert not faults
