"""Lists in messages."""

from collections.abc import Sequence
from typing import Optional


def shorten_list(names: "Sequence[str]", limit: Optional[int] = 4) -> str:
    """The first names (all, if `limit` is None), and how many more: `a, b and 7 more`."""
    more = 0 if limit is None else len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
