"""A list of `transform_ops` as one callable."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np

from ppcls.config.schema import Faults, check_component
from ppcls.data.transform.fusion import fuse
from ppcls.errors import ConfigError
from ppcls.registry import TRANSFORMS, parse_spec


class Pipeline:
    """Applies operators one after the other.

    Args:
        operators: called as `operator(image, rng)`.

    Attributes:
        epochs: length of the training, for operators that change in its course (see
            `ppcls.data.transform.progress`); the loader sets it.
        steps: what is really run, see `ppcls.data.transform.fusion`.
    """

    def __init__(self, operators: Sequence[Any]):
        self.operators = list(operators)
        self.steps = fuse(self.operators)
        self.epochs = 1
        #: ((epoch, epochs), pipeline) that `at_epoch` gave last.
        self._of_epoch: Optional[tuple[tuple[int, int], Pipeline]] = None

    def __call__(
        self, image: Union[bytes, np.ndarray], rng: Optional[np.random.Generator] = None
    ) -> np.ndarray:
        """Turns an image into the model's input.

        Args:
            image: the bytes of an image file, or an RGB array (H, W, 3) uint8.
            rng: the generator of random operators. Without it they draw from one with a fixed
                seed, so that the prediction for an image never varies.

        Raises:
            DataError: the image cannot be decoded or does not fit an operator.
        """
        if rng is None:
            rng = _fixed_generator()
        for step in self.steps:
            image = step(image, rng)
        return image

    def at_epoch(self, epoch: int) -> "Pipeline":
        """The pipeline of an epoch: this one, unless operators change in the course of training."""
        operators = [
            operator.at_epoch(epoch, self.epochs) if hasattr(operator, "at_epoch") else operator
            for operator in self.operators
        ]
        if all(new is old for new, old in zip(operators, self.operators)):
            return self
        if self._of_epoch is None or self._of_epoch[0] != (epoch, self.epochs):
            self._of_epoch = (epoch, self.epochs), Pipeline(operators)
        return self._of_epoch[1]


_of_thread = threading.local()


def _fixed_generator() -> np.random.Generator:
    """The same generator in the same state, for each thread its own.

    Setting the state takes 2 us, a new generator 60: as long as normalising an image.
    """
    if not hasattr(_of_thread, "generator"):
        _of_thread.generator = np.random.default_rng(0)
        _of_thread.state = _of_thread.generator.bit_generator.state
    _of_thread.generator.bit_generator.state = _of_thread.state
    return _of_thread.generator


def build_transforms(specs: "Sequence[Union[str, Mapping[str, Any]]]") -> Pipeline:
    """Builds the pipeline of a `transform_ops` list, e.g. `[{"DecodeImage": {...}}, ...]`.

    Deployments call it with what a YAML file says, so it checks, and reads numbers written as text.

    Raises:
        ConfigError: operators or arguments are unknown or wrong; lists all of them.
    """
    faults = Faults()
    checked = [
        check_component("transform", spec, f"transform_ops.{index}", faults)
        for index, spec in enumerate(specs)
    ]
    if faults.messages:
        raise ConfigError("\n".join(faults.messages))
    return Pipeline([TRANSFORMS.build(spec) for spec in checked])


def complete_transforms(specs: "Sequence[Union[str, Mapping[str, Any]]]") -> "list[Any]":
    """A `transform_ops` list with the operators that PaddleClas files leave to the dataset.

    There a dataset turns what the list gives into (C, H, W) by itself, so `ToCHWImage` is not
    written; and some lists do not begin with `DecodeImage`. Lists that have them stay as they are.
    """
    named = [parse_spec(spec) for spec in specs]
    completed = list(specs)
    if not any(name == "DecodeImage" for name, _ in named):
        completed.insert(0, {"DecodeImage": {}})
    if not any(name == "ToCHWImage" or arguments.get("channel_first") for name, arguments in named):
        completed.append({"ToCHWImage": {}})
    return completed
