"""The layer that sees every access of a port, outside all others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar, TypeVar

from storycore.audit.accesses import SILENT, WALKS, Access, named
from storycore.audit.aside import ASIDE
from storycore.audit.recorder import Recorder
from storycore.errors import Effect, InvalidArgument, StorycoreError
from storycore.layers.acting import Acting, actor, put_back
from storycore.layers.around import Operation
from storycore.ports.environment import Clock

__all__ = ["Watching"]

T = TypeVar("T")


class Watching:
    """Records the operations of a port.

    What an operation of one port does at another on its way is part of the same access; a dry run is none.

    Args:
        recorder: takes the records.
        clock: tells the time.
        who: acts where nobody has said who.
        reads: whether reads are recorded too.
        durable: whether an operation only returns when its record is stored.
    """

    slot: ClassVar[int] = 1

    def __init__(self, recorder: Recorder, clock: Clock, who: Acting, *, reads: bool, durable: bool) -> None:
        self._recorder = recorder
        self._clock = clock
        self._who = who
        self._reads = reads
        self._durable = durable

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation and record it."""
        return await self.surround(operation, proceed)()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call``, recorded."""
        action = f"{operation.port}.{operation.name}"
        if action in SILENT or not (operation.writes or self._reads):
            return call
        recorder, walks, effect = self._recorder, action in WALKS, Effect.APPLIED if operation.writes else Effect.NONE

        @wraps(call)
        async def watched(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            if ASIDE.get() or kwargs.get("dry_run"):
                return await call(*args, **kwargs)
            if recorder.is_full:
                await recorder.room()
            token = ASIDE.set(True)
            try:
                result = await call(*args, **kwargs)
            except BaseException as exc:
                names = () if isinstance(exc, InvalidArgument) else named(operation, args, kwargs, None)
                recorder.add(Access(self._clock.now(), actor(self._who), action, _outcome(operation, exc), names))
                if self._durable and isinstance(exc, StorycoreError):
                    with suppress(StorycoreError):  # the call's own error says more
                        await recorder.settled(effect)
                raise
            finally:
                put_back(ASIDE, token)
            names = named(operation, args, kwargs, result)
            if names or not walks:
                recorder.add(Access(self._clock.now(), actor(self._who), action, "done", names))
                if self._durable:
                    await recorder.settled(effect)
            return result

        return watched


def _outcome(operation: Operation, exc: BaseException) -> str:
    """What became of an operation that failed, or was cancelled."""
    may_have_happened = operation.writes and (
        isinstance(exc, asyncio.CancelledError) or getattr(exc, "effect", None) is Effect.UNKNOWN
    )
    if may_have_happened:
        return "unknown"
    return type(exc).__name__ if isinstance(exc, (StorycoreError, asyncio.CancelledError)) else "error"
