"""A configuration that nobody changes after it was checked."""

import copy
from typing import Any


def _refuse(self: Any, *args: Any, **kwargs: Any) -> None:
    raise TypeError(
        "the configuration is read-only once checked; use to_plain(config) for a copy to change"
    )


class FrozenDict(dict):
    """A dict without mutation. `copy.deepcopy` gives an ordinary dict."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: "dict[int, Any]") -> "dict[Any, Any]":
        return {key: copy.deepcopy(value, memo) for key, value in self.items()}

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)


class FrozenList(list):
    """A list without mutation. `copy.deepcopy` gives an ordinary list."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: "dict[int, Any]") -> "list[Any]":
        return [copy.deepcopy(value, memo) for value in self]

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


def freeze(value: Any) -> Any:
    """`value` with every dict and list inside it made read-only."""
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return FrozenList([freeze(item) for item in value])
    return value


def to_plain(value: Any) -> Any:
    """A copy of `value` made of ordinary dicts and lists, as YAML and JSON writers expect."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value
