"""The vocabulary of component signatures: what a value in YAML may be.

A signature is written with ordinary types (`int`, `float`, `bool`, `str`, `list[int]`,
`Optional[float]`, `Literal["cv2", "pil"]`, `Union[...]`) and these additions:

- `Annotated[float, Range(0, 1)]`, here with the ready names `PositiveInt`, `Probability`, ...;
- `Number`: a float that YAML may also give as text, `"1e-3"` or `"1.0/255.0"` (every `float`
  accepts that; the name says it where the fraction is the habit);
- `Component("loss")`: the YAML of one component, checked against that component's own signature;
- `ComponentList("transform")`: a list of them.

`ppcls.config.schema` checks values against these.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Optional


@dataclass(frozen=True)
class Range:
    """Bounds of a number, inclusive unless `open_low`/`open_high`."""

    low: Optional[float] = None
    high: Optional[float] = None
    open_low: bool = False
    open_high: bool = False

    def contains(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.open_low and value == self.low)):
            return False
        return not (
            self.high is not None and (value > self.high or (self.open_high and value == self.high))
        )

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'>' if self.open_low else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.open_high else '<='} {self.high:g}")
        return " and ".join(parts)


@dataclass(frozen=True)
class ComponentOf:
    """Marks a mapping that names one component of `kind`."""

    kind: str
    #: A dataclass of the keys that stand beside the component's own arguments here.
    options: Optional[type] = None


def Component(kind: str, options: Optional[type] = None) -> Any:
    """Annotation of an argument that holds the YAML of one component.

    On `**operators` it says that every further key is the name of a component.
    """
    return Annotated[Any, ComponentOf(kind, options)]


def ComponentList(kind: str) -> Any:
    """Annotation of an argument that holds a list of components' YAML."""
    return list[Component(kind)]


Number = float
PositiveInt = Annotated[int, Range(low=1)]
NonNegativeInt = Annotated[int, Range(low=0)]
PositiveFloat = Annotated[float, Range(low=0, open_low=True)]
NonNegativeFloat = Annotated[float, Range(low=0)]
Probability = Annotated[float, Range(low=0, high=1)]
