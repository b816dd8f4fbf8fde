"""Work that threads share, with its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 32  # results that wait for each thread: bounds memory


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Generator[R, None, None]:
    """Yield work(item) for each item, in order, while threads work on the next ones.

    Args:
        work: the function.
        items: its arguments.
        threads: how many; as many as there are CPUs by default.
        ahead: results that wait at the most; `AHEAD` for each thread by default.

    >>> list(in_order(abs, [3, -2, -1]))
    [3, 2, 1]
    """
    threads = threads or os.cpu_count() or 1
    most = AHEAD * threads if ahead is None else ahead
    pool = ThreadPoolExecutor(threads)
    futures: deque[Future[R]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) > most:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
