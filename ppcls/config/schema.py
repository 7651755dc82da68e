"""Checks values against annotations, and calls against signatures, collecting every fault.

The annotations are those of `ppcls.config.types`. Each check returns the value in the form the
component expects (the text "1e-3" as a float, say); faults go to a list, so that one run over a
configuration finds them all.
"""

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, Union

from ppcls.config.numbers import parse_number
from ppcls.config.types import ComponentOf, Range
from ppcls.errors import ConfigError, did_you_mean
from ppcls.registry import REGISTRIES, Registry, parse_spec

_TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    list: "a list",
    tuple: "a list",
}


@dataclass
class Faults:
    """What is wrong in one configuration: a message per YAML path."""

    messages: "list[str]" = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.messages.append(f"{path}: {message}")


@dataclass(frozen=True)
class Parameter:
    """One key that a section accepts."""

    annotation: Any
    required: bool


def signature_schema(
    function: "Callable[..., Any]", exclude: Sequence[str] = ()
) -> "tuple[dict[str, Parameter], Any]":
    """The keys that a class, function or `functools.partial` takes, and what others may hold.

    The latter is the annotation of its `**kwargs`: `Any` without one, None where there are none.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    annotated = inner.__init__ if inspect.isclass(inner) else inner
    hints = typing.get_type_hints(annotated, include_extras=True)
    schema: dict[str, Parameter] = {}
    others = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            others = hints.get(name, Any)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name not in exclude:
            schema[name] = Parameter(
                annotation=hints.get(name, Any),
                required=parameter.default is inspect.Parameter.empty,
            )
    return schema, others


def check_mapping(
    schema: "Mapping[str, Parameter]",
    value: Mapping[str, Any],
    path: str,
    faults: Faults,
    others: Any = None,
) -> "dict[str, Any]":
    """Checks the keys of one section: unknown, missing, and each value's type.

    `others` is the annotation of keys that are not in `schema`; None allows none.
    """
    checked = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        if key in schema:
            checked[key] = check_value(schema[key].annotation, item, here, faults)
        elif others is not None:
            checked[key] = _check_other(others, key, item, path, here, faults)
        else:
            hint = did_you_mean(key, schema) or f"; known keys: {', '.join(sorted(schema))}"
            faults.add(here, f"unknown {'key' if path else 'section'}{hint}")
    for key, parameter in schema.items():
        if parameter.required and key not in value:
            where = f"{path}.{key}" if path else key
            faults.add(where, f"required {'key' if path else 'section'} is missing")
    return checked


def _check_other(annotation: Any, key: str, item: Any, path: str, here: str, faults: Faults) -> Any:
    """Checks a key that its section does not name: a component's name, or just a value."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, ComponentOf):
            checked = check_component(extra.kind, {key: item}, path, faults, extra.options)
            return checked[key]
    return check_value(annotation, item, here, faults)


def check_component(
    kind: str, spec: Any, path: str, faults: Faults, options: Optional[type] = None
) -> Any:
    """Checks the YAML of one component against its signature; returns it in the form it came in.

    `options` is a dataclass of keys that may stand beside the component's own.
    """
    registry = REGISTRIES[kind]
    try:
        name, kwargs = parse_spec(spec)
    except ConfigError as error:
        faults.add(path, str(error))
        return spec
    is_named = isinstance(spec, Mapping) and "name" in spec
    try:
        component = registry.get(name)
    except ConfigError as error:
        faults.add(f"{path}.name" if is_named else path, str(error))
        return spec
    schema, others = component_schema(registry, component)
    beside = {} if options is None else signature_schema(options)[0]
    inner = path if is_named or isinstance(spec, str) else f"{path}.{name}"
    before = len(faults.messages)
    checked = check_mapping({**schema, **beside}, kwargs, inner, faults, others)
    if registry.trial is not None and len(faults.messages) == before:
        own = {key: value for key, value in checked.items() if key not in beside}
        try:
            component(**own, **registry.trial)
        except ConfigError as error:
            faults.add(inner, str(error))
    return {"name": name, **checked} if is_named else {name: checked}


def component_schema(
    registry: Registry, component: "Callable[..., Any]"
) -> "tuple[dict[str, Parameter], Any]":
    """The YAML keys of a component (its own, and those its kind has in common), and what others
    may hold, as in `signature_schema`."""
    schema, others = signature_schema(component, exclude=registry.runtime)
    common = registry.common_options()
    if common is not None:
        schema = {**signature_schema(common)[0], **schema}
    return schema, others


def check_value(annotation: Any, value: Any, path: str, faults: Faults) -> Any:
    """Checks one value; returns it converted, or as it came when it has faults."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return value
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return _check_annotated(arguments, value, path, faults)
    if origin is Union:
        return _check_union(arguments, value, path, faults)
    if origin is Literal:
        return _check_literal(arguments, value, path, faults)
    if dataclasses.is_dataclass(annotation):
        return _check_section(annotation, value, path, faults)
    container = origin or annotation
    if inspect.isclass(container):
        if issubclass(container, (list, tuple, Sequence)) and container is not str:
            return _check_list(container, arguments, value, path, faults)
        if issubclass(container, Mapping):
            return _check_dict(arguments, value, path, faults)
        return _check_scalar(container, value, path, faults)
    raise TypeError(f"{path}: the annotation {annotation!r} is not part of ppcls.config.types")


def _check_annotated(arguments: Any, value: Any, path: str, faults: Faults) -> Any:
    base, *extras = arguments
    for extra in extras:
        if isinstance(extra, ComponentOf):
            return check_component(extra.kind, value, path, faults, extra.options)
    before = len(faults.messages)
    value = check_value(base, value, path, faults)
    if len(faults.messages) == before:
        for extra in extras:
            if isinstance(extra, Range) and value is not None and not extra.contains(value):
                faults.add(path, f"expected a number {extra}, received {value!r}")
    return value


def _check_union(alternatives: Any, value: Any, path: str, faults: Faults) -> Any:
    # PaddleClas files write Python's None where YAML says null.
    if value in (None, "None") and type(None) in alternatives:
        return None
    alternatives = [a for a in alternatives if a is not type(None)]
    if len(alternatives) == 1:
        return check_value(alternatives[0], value, path, faults)
    # An exact type first, so that Union[float, bool] keeps true a truth value and 3 an integer.
    alternatives.sort(key=lambda a: a is not type(value))
    for alternative in alternatives:
        attempt = Faults()
        checked = check_value(alternative, value, path, attempt)
        if not attempt.messages:
            return checked
    names = " or ".join(describe(a) for a in alternatives)
    faults.add(path, f"expected {names}, received {value!r}")
    return value


def _check_literal(choices: Any, value: Any, path: str, faults: Faults) -> Any:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        hint = did_you_mean(value, [c for c in choices if isinstance(c, str)])
        faults.add(path, f"expected one of {listed}, received {value!r}{hint}")
    return value


def _check_section(section: Any, value: Any, path: str, faults: Faults) -> Any:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        faults.add(path, f"expected a mapping of keys to values, received {value!r}")
        return value
    schema, others = signature_schema(section)
    return check_mapping(schema, value, path, faults, others)


def _check_list(container: Any, arguments: Any, value: Any, path: str, faults: Faults) -> Any:
    if not isinstance(value, (list, tuple)):
        faults.add(path, f"expected a list, received {value!r}")
        return value
    fixed_length = issubclass(container, tuple) and arguments and arguments[-1] is not Ellipsis
    if fixed_length and len(arguments) != len(value):
        faults.add(path, f"expected {len(arguments)} values, received {len(value)}: {value!r}")
        return value
    item = arguments[0] if arguments else Any
    items = arguments if fixed_length else [item] * len(value)
    return [
        check_value(annotation, element, f"{path}.{index}", faults)
        for index, (annotation, element) in enumerate(zip(items, value))
    ]


def _check_dict(arguments: Any, value: Any, path: str, faults: Faults) -> Any:
    if not isinstance(value, Mapping):
        faults.add(path, f"expected a mapping, received {value!r}")
        return value
    item_annotation = arguments[1] if arguments else Any
    return {
        key: check_value(item_annotation, item, f"{path}.{key}", faults)
        for key, item in value.items()
    }


def _check_scalar(expected: Any, value: Any, path: str, faults: Faults) -> Any:
    if expected in (int, float) and not isinstance(value, bool):
        number = _as_number(value)
        if number is not None:
            if expected is float:
                return float(number)
            if float(number).is_integer():
                return int(number)
    elif isinstance(value, expected):
        return value
    faults.add(path, f"expected {describe(expected)}, received {value!r}")
    return value


def _as_number(value: Any) -> "Optional[Union[int, float]]":
    """The finite number that `value` is or spells, or None."""
    try:
        number = parse_number(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def describe(annotation: Any) -> str:
    """What a value must be, in words."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        base, *extras = typing.get_args(annotation)
        bounds = [str(extra) for extra in extras if isinstance(extra, Range)]
        if any(isinstance(extra, ComponentOf) for extra in extras):
            return "a component"
        return " ".join([describe(base), *bounds])
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(annotation))
    container = origin or annotation
    if container in _TYPE_NAMES:
        name = _TYPE_NAMES[container]
        items = [a for a in typing.get_args(annotation) if a is not Ellipsis]
        if container in (list, tuple) and items and items[0] is not Any:
            plural = {int: "integers", float: "numbers", str: "texts"}.get(items[0])
            return f"{name} of {plural}" if plural else name
        return name
    return getattr(container, "__name__", str(container))
