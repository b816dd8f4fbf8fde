"""Work that threads share: results in order, errors in their turn."""

from __future__ import annotations

import pytest

from marginface.data.ordered import in_order
from marginface.errors import MarginfaceError


def test_work_is_shared_in_order_and_not_far_ahead() -> None:
    taken = []

    def items():
        for item in range(5000):
            taken.append(item)
            yield item

    results = in_order(lambda item: item * item, items())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) < 2000
    assert [*results] == [item * item for item in range(3, 5000)]


def test_an_error_in_shared_work_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise MarginfaceError("five")
        return item

    results = in_order(work, range(1000))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(MarginfaceError, match="five"):
        next(results)
