"""Indexes whose writes are seen late: after each write the kit waits until it is seen before it goes on.

So one suite proves both kinds of index. What is proved about the wait itself asks the index without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Final, TypeVar

from storycore.errors import StaleRead
from storycore.layers.around import Around, Operation
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import DEFAULT_NAMESPACE, VectorIndex, VectorQuery, WriteToken
from storycore.testing.harness import Harness

__all__ = ["VectorHarness", "settled", "unsettled"]

T = TypeVar("T")

_WRITES: Final = ("upsert", "update", "update_where", "delete")
_PATIENCE_SECONDS: Final = 20.0
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


@dataclass
class VectorHarness(Harness):
    """A place for a vector index; what it opens shows every write to the read that follows it."""

    def make(self, **overrides: object) -> Any:
        """The index behind its checks, not yet open."""
        return settled(super().make(**overrides))

    def fresh(self) -> VectorHarness:
        """Another empty place with a clock of its own."""
        path = super().fresh().path
        return VectorHarness(self.port, self.adapter, self.options, path, served=self.served)


def settled(index: VectorIndex) -> Any:  # an index, or one with the wait around its operations
    """The index itself where a read sees every write that returned; else one that waits after each write.

    An index that promises neither that nor the feature ``vectors.at_least`` cannot be waited for: its first write
    raises ``Unsupported``.
    """
    if index.capabilities.guarantees.read_after_write:
        return index
    return Around(PortName.VECTORS, index, [_Settling(index)])


def unsettled(index: VectorIndex) -> VectorIndex:
    """The index without the wait."""
    inner: VectorIndex = index.inner if isinstance(index, Around) else index  # type: ignore[assignment]  # what it stands around
    return inner


class _Settling:
    """The wait around the operations that write."""

    slot: ClassVar[int] = 0

    def __init__(self, index: VectorIndex) -> None:
        self._index = index

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run an operation whose arguments are not known; nothing is waited for."""
        return await proceed()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` with the wait behind it, where it writes."""
        if operation.name not in _WRITES:
            return call

        @wraps(call)
        async def waited(*args: Any, namespace: str = DEFAULT_NAMESPACE, **given: Any) -> T:
            written = await call(*args, namespace=namespace, **given)
            token: Any = written
            await self._until_seen(getattr(token, "token", token), namespace)
            return written

        return waited

    async def _until_seen(self, token: WriteToken, namespace: str) -> None:
        """Look again and again; the last look's ``StaleRead`` is let through."""
        values: Any = [1.0] * self._index.spec.dimension
        query = VectorQuery(values=values, top_k=1, namespace=namespace, at_least=token, include_metadata=False)
        now = asyncio.get_running_loop().time
        end, pause = now() + _PATIENCE_SECONDS, _FIRST_PAUSE
        while True:
            try:
                await self._index.query([query])
                return
            except StaleRead:
                if now() > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
