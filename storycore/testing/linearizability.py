"""Whether some order of concurrent calls explains every answer: the search of Wing and Gong."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["Timed", "is_explained"]


class Timed(Protocol):
    """A call that began and ended at ticks of one counter."""

    @property
    def begin(self) -> int:
        """When it was made."""
        ...

    @property
    def end(self) -> int:
        """When it answered."""
        ...


C = TypeVar("C", bound=Timed)
S = TypeVar("S", bound=Hashable)


def is_explained(history: Sequence[C], start: S, follow: Callable[[C, S], Iterable[S]]) -> bool:
    """Whether the calls can be put in an order in which each took effect between its begin and its end.

    Which sets of calls have led to which state is remembered, so that no way is gone twice.

    Args:
        history: the calls, in any order.
        start: the state before the first.
        follow: the states to which a call may lead from a state; none when its answer could not have come from there.
    """
    full = (1 << len(history)) - 1
    seen: set[tuple[int, S]] = set()
    open_ends: list[tuple[int, S]] = [(0, start)]
    while open_ends:
        done, state = open_ends.pop()
        if done == full:
            return True
        if (done, state) not in seen:
            seen.add((done, state))
            open_ends += _next_steps(history, done, state, follow)
    return False


def _next_steps(
    history: Sequence[C], done: int, state: S, follow: Callable[[C, S], Iterable[S]]
) -> Iterator[tuple[int, S]]:
    waiting = [(i, call) for i, call in enumerate(history) if not done >> i & 1]
    first_end = min(call.end for _, call in waiting)
    for i, call in waiting:
        if call.begin <= first_end:
            for after in follow(call, state):
                yield done | 1 << i, after
