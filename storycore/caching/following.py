"""Following the change feed: what anybody writes is invalidated, also by a writer who died before he could do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from storycore.errors import FeedGap, InvalidArgument
from storycore.layers.deadline import timeless
from storycore.ports.entities import Change, EntityStore, FeedPosition, Key

__all__ = ["Following"]

_PAGE = 1000
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 1.0


class Following:
    """A task that invalidates the cached records of all changes from its start on.

    Whatever goes wrong with the feed, it is tried again; where changes are no longer kept, everything goes.

    Args:
        store: has the change feed.
        latest: the position behind all present changes.
        forget: invalidates records.
        forget_all: invalidates all of them.
        outdate: invalidates what else depends on what has changed.
    """

    def __init__(
        self,
        store: EntityStore,
        *,
        latest: Callable[[], Awaitable[FeedPosition | None]],
        forget: Callable[[Sequence[Key]], Awaitable[object]],
        forget_all: Callable[[], Awaitable[object]],
        outdate: Callable[[Sequence[Change]], Awaitable[object]] | None = None,
    ) -> None:
        self.followed = 0
        self._store = store
        self._latest = latest
        self._forget = forget
        self._forget_all = forget_all
        self._outdate = outdate
        self._position: FeedPosition | None = None
        self._has_begun = False
        self._has_missed = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), context=timeless())

    async def close(self) -> None:
        """End; nothing is left running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if await self._step():
                pause = _FIRST_PAUSE_SECONDS
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _step(self) -> bool:
        """Invalidate the next page; whether there was one."""
        try:
            if not self._has_begun:
                await self._start()
            page = await self._store.changes(self._position, limit=_PAGE)
        except (FeedGap, InvalidArgument):
            self._has_begun, self._has_missed = False, True
            return False
        except Exception:  # whatever the store raises, what it writes later has to be followed
            self._has_missed = self._has_missed or not self._has_begun
            return False
        if page.changes:
            await self._forget(list(dict.fromkeys(change.key for change in page.changes)))
        if self._outdate is not None:
            await self._outdate(page.changes)
        self.followed += len(page.changes)
        self._position = page.next
        return bool(page.changes)

    async def _start(self) -> None:
        """Go on at the end; where changes were missed, and nobody knows which, everything is invalidated after that."""
        self._position = await self._latest()
        if self._has_missed:
            await self._forget_all()
        self._has_begun, self._has_missed = True, False
