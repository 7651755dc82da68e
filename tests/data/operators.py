"""How the tests of the transforms make an operator and its random numbers."""

import numpy as np

from ppcls.registry import TRANSFORMS


def build(name: str, **arguments):
    """The operator called `name`."""
    return TRANSFORMS.build({name: arguments})


def generator(seed: int) -> np.random.Generator:
    """What an operator draws from."""
    return np.random.default_rng(seed)
