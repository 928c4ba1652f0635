"""The mechanism of layers: interceptors around every operation of a port, the same port in and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Protocol, TypeVar

from storycore.layers.checks.forward import Forward
from storycore.ports.lifecycle import Port, PortName

__all__ = ["OPERATIONS", "Around", "Interceptor", "Operation"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a port, as an interceptor sees it.

    Args:
        port: which port.
        name: the method's name.
        writes: whether it can change what is stored.
        repeatable: whether doing it twice leaves the same as doing it once, whoever writes in between.
    """

    port: PortName
    name: str
    writes: bool
    repeatable: bool


class Interceptor(Protocol):
    """Runs around operations. ``slot`` orders interceptors: a lower one is further outside.

    One that stands around every call of a store may also have ``surround(operation, call)``, which gives the operation
    with itself around it once and for all, and spares each call a detour (measured: 0.7 of 12 microseconds).
    """

    slot: ClassVar[int]

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Call ``proceed`` as often as the layer decides, and return or raise what the caller is to see."""
        ...


def _operations(port: PortName, *, reads: str, repeatable: str = "", writes: str = "") -> dict[str, Operation]:
    return {
        **{name: Operation(port, name, writes=False, repeatable=True) for name in reads.split()},
        **{name: Operation(port, name, writes=True, repeatable=True) for name in repeatable.split()},
        **{name: Operation(port, name, writes=True, repeatable=False) for name in writes.split()},
    }


OPERATIONS: Mapping[PortName, Mapping[str, Operation]] = {
    PortName.ENTITIES: _operations(
        PortName.ENTITIES, reads="get query scan changes changes_end explain", repeatable="expire", writes="write"
    ),
    PortName.CACHE: _operations(
        PortName.CACHE,
        reads="get keys listen",
        repeatable="release invalidate touch clear counters",
        writes="acquire fill put bump",
    ),
    PortName.VECTORS: _operations(
        PortName.VECTORS,
        reads="query search_text explain fetch list_ids scan stats",
        repeatable="optimize",
        writes="upsert update update_where delete",
    ),
    PortName.BLOBS: _operations(
        PortName.BLOBS, reads="get head revisions entries presign", repeatable="lock", writes="put delete copy"
    ),
    PortName.EVENTS: _operations(PortName.EVENTS, reads="read", repeatable="emit trim"),
    PortName.EMBEDDER: _operations(PortName.EMBEDDER, reads="embed"),
    PortName.RERANKER: _operations(PortName.RERANKER, reads="rerank"),
}
"""Every operation of every port."""


class Around(Forward[Port]):
    """``inner`` with ``interceptors`` around each operation, outermost first; everything else passes through."""

    def __init__(self, port: PortName, inner: Port, interceptors: Sequence[Interceptor]) -> None:
        super().__init__(inner)
        for name, operation in OPERATIONS[port].items():
            setattr(self, name, _surround(operation, getattr(inner, name), interceptors))

    def __getattr__(self, name: str) -> Any:  # what a port has beside operations, an index's `spec` for example
        if name == "inner" or name.startswith("__"):  # asked of a copy that is still empty
            raise AttributeError(name)
        return getattr(self.inner, name)


def _surround(
    operation: Operation, call: Callable[..., Awaitable[T]], interceptors: Sequence[Interceptor]
) -> Callable[..., Awaitable[T]]:
    for interceptor in reversed(interceptors):
        call = _around_one(operation, call, interceptor)
    return call


def _around_one(
    operation: Operation, call: Callable[..., Awaitable[T]], interceptor: Interceptor
) -> Callable[..., Awaitable[T]]:
    surround: Callable[..., Callable[..., Awaitable[T]]] | None = getattr(interceptor, "surround", None)
    if surround is not None:
        return surround(operation, call)

    @wraps(call)
    async def surrounded(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
        return await interceptor(operation, lambda: call(*args, **kwargs))

    return surrounded
