"""An iterator whose next item is made while the present one is in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def one_ahead(items: "Iterator[T]") -> "Iterator[T]":
    """The items in order; another thread makes each while its predecessor is in use."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="one-ahead")
    try:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item
    finally:
        # Whoever stops early does not wait for what nobody will see.
        pool.shutdown(wait=False, cancel_futures=True)
