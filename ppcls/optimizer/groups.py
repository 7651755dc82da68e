"""Learning rates and weight decay that differ between the parameters of a model.

Paddle scales the rate of a parameter by `optimize_attr["learning_rate"]`, which its optimizers all
respect. Its parameter groups would do the same, but clip the gradients of each group on their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from paddle import nn

from ppcls.errors import ConfigError, did_you_mean
from ppcls.optimizer.layer_depth import distances_to_output
from ppcls.optimizer.options import ParameterGroup
from ppcls.utils.layer_names import is_within, outermost
from ppcls.utils.logger import logger
from ppcls.utils.text import shorten_list


def layer_rates(
    model: nn.Layer, decay: float, image_shape: Optional[Sequence[int]]
) -> "dict[str, float]":
    """Parameter -> `decay` to the number of layers after its own.

    Args:
        model: the bare model.
        decay: `layer_decay`, in (0, 1].
        image_shape: (C, H, W) of an image that the model takes.
    """
    if image_shape is None:
        raise ConfigError("Optimizer.layer_decay needs the size of the images")
    distances = distances_to_output(model, image_shape)
    return {name: decay**distance for name, distance in distances.items()}


def assign_groups(
    model: nn.Layer, groups: "Sequence[Mapping[str, Any]]"
) -> "dict[str, ParameterGroup]":
    """Parameter -> the first group that names it; parameters of no group are left out.

    Args:
        groups: `Optimizer.groups`, mappings of the keys of `ParameterGroup`.

    Raises:
        ConfigError: a pattern names nothing that is trained, or only what earlier groups have.
    """
    trained = [name for name, p in model.named_parameters() if not p.stop_gradient]
    known = {name for name, _ in (*model.named_sublayers(), *model.named_parameters())}
    assigned: dict[str, ParameterGroup] = {}
    for index, section in enumerate(groups):
        group = ParameterGroup(**section)
        for position, pattern in enumerate(group.names):
            found = [name for name in trained if is_within(name, pattern)]
            free = [name for name in found if assigned.get(name, group) is group]
            if not free:
                where = f"Optimizer.groups.{index}.names.{position}"
                raise ConfigError(f"{where}: {_why_nothing(model, pattern, known, found)}")
            assigned.update(dict.fromkeys(free, group))
    return assigned


def _why_nothing(model: nn.Layer, pattern: str, known: "set[str]", found: "list[str]") -> str:
    if found:
        return f"all that '{pattern}' names belongs to groups before this one; write it before them"
    if any(is_within(name, pattern) for name in known):
        return f"nothing that '{pattern}' names is trained (see Arch.freeze)"
    names = outermost([name for name, _ in (*model.named_children(), *model.named_parameters())])
    return (
        f"no layer or parameter of {type(model).__name__} is called '{pattern}'"
        f"{did_you_mean(pattern, names)}; its parts are {', '.join(names)}"
    )


def scale_rates(model: nn.Layer, rates: "Mapping[str, float]") -> None:
    """Multiplies the learning rate of each parameter, by name, in all optimizers made of it."""
    for name, parameter in model.named_parameters():
        own = parameter.optimize_attr["learning_rate"]
        rate = own * rates.get(name, 1.0)
        parameter.optimize_attr = {**parameter.optimize_attr, "learning_rate": rate}


def log_groups(rates: "Mapping[str, float]", strengths: "Mapping[str, float]") -> None:
    """One line for all parameters that share a rate and a strength, lowest rate first.

    Args:
        rates: factor of the learning rate by parameter.
        strengths: weight decay by parameter, where it is one number each.
    """
    alike: dict[tuple[float, Optional[float]], list[str]] = {}
    for name, rate in rates.items():
        alike.setdefault((rate, strengths.get(name)), []).append(name)
    for (rate, strength), names in sorted(alike.items()):
        layers = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
        decay = "" if strength is None else f", weight decay {strength:g}"
        logger.info(
            f"learning rate x {rate:.6g}{decay}: {len(names)} parameters ({shorten_list(layers)})"
        )
