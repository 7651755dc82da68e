"""Results of a function that other threads compute while earlier ones are in use."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: "Callable[[Item], Result]", items: "Iterable[Item]", ahead: int, threads: int
) -> "Iterator[Result]":
    """The results in order; those of up to `ahead` further items are computed or wait.

    `items` are asked for by the thread that takes the results, and no earlier than needed for that.

    Args:
        ahead: 0 computes each result when it is asked for.
        threads: results that are computed at a time.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="map-ahead")
    coming: deque[Future[Result]] = deque()
    try:
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        # Whoever stops early does not wait for what nobody will see.
        pool.shutdown(wait=False, cancel_futures=True)
