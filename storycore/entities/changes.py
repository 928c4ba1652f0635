"""Changes: the change feed as instances, walked for ever, by a group that remembers how far it is or by anybody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar
from weakref import WeakSet

from pydantic import BaseModel

from storycore.entities.codec import from_record
from storycore.entities.consumer_groups import Group, LeaseLostError
from storycore.entities.declaration import Entity
from storycore.errors import ConditionFailed, Corrupt, FeedGap, InvalidArgument, StorycoreError, Unsupported
from storycore.ports.conditions import Version
from storycore.ports.entities import Action, Change, ChangePage, EntityStore, FeedPosition, Key, Record
from storycore.ports.environment import Environment

__all__ = ["ChangeFeed", "ChangeStream", "EntityChange", "Start"]

M = TypeVar("M", bound=BaseModel)

Start: TypeAlias = Literal["latest", "oldest"] | FeedPosition
"""Where a stream begins: behind everything there is, with the oldest change that is kept, or behind a change."""

_PAGE = 100
_DONE_UNSAVED = 100
_FIRST_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class EntityChange(Generic[M]):
    """One change of one instance.

    Args:
        entity: the declaration.
        key: of the record.
        action: ``put`` when the instance was created or changed in any way; ``delete``, or ``expire`` when its time
            had come.
        version: after a put the new one, else the last one.
        at: when it was written, or when the store noticed that it is gone, by the store's own clock.
        position: behind this change; a stream can start there.
        record: what was written; ``None`` when it is gone.
    """

    entity: Entity[M]
    key: Key
    action: Action
    version: Version
    at: datetime
    position: FeedPosition
    record: Record | None = field(repr=False)

    @property
    def kind(self) -> str:
        """Of the entity."""
        return self.entity.kind

    @cached_property
    def instance(self) -> M | None:
        """The instance as it was written, under its version; ``None`` when it is gone.

        Raises:
            Corrupt, SchemaMismatch: the record cannot be read. The stream goes on behind it all the same.
        """
        return None if self.record is None else from_record(self.entity, self.record)


class ChangeFeed:
    """The change feed of one store.

    Args:
        store: gives whole records.
        raw: the same store without what makes records whole, for walking to the feed's end.
        env: tells the time.
    """

    def __init__(self, store: EntityStore, raw: EntityStore, env: Environment) -> None:
        self.store = store
        self.running: WeakSet[ChangeStream[Any]] = WeakSet()  # of any models
        self.raw = raw
        self._env = env

    def stream(
        self,
        entities: Iterable[Entity[M]],
        *,
        group: str | None,
        start: Start,
        wait: bool,
        lease: timedelta,
        longest_pause: float,
    ) -> ChangeStream[M]:
        """A stream that is not read yet; arguments as for ``Store.changes``."""
        if not isinstance(start, str) or not start:
            raise InvalidArgument(f"A stream starts at 'latest', 'oldest' or a change's position, not {start!r}.")
        if isinstance(longest_pause, bool) or not isinstance(longest_pause, int | float) or not longest_pause > 0:
            raise InvalidArgument(f"The longest pause is a number of seconds above 0, not {longest_pause!r}.")
        member = None if group is None else Group(self.store, self._env, group, lease)
        return ChangeStream(self, list(entities), start=start, group=member, wait=wait, longest_pause=longest_pause)

    async def resolve(self, start: Start) -> FeedPosition | None:
        """The position for which ``start`` stands."""
        if start != "latest":
            return None if start == "oldest" else FeedPosition(start)
        return await self.raw.changes_end()

    async def close(self) -> None:
        """End all streams; what is done is saved."""
        for stream in list(self.running):
            await stream.close()


class ChangeStream(Generic[M]):
    """The changes of some entities in the order of the feed, which keeps each key's order.

    ``async for change in stream`` waits for the next change for ever; the loop ends when it is left, when ``close`` is
    called, or when the store is closed. A change counts as done when the next one is asked for, or with ``commit``.

    With a group what is done is kept in the store: after a hundred changes, whenever the feed is silent, every third of
    a lease, and when the loop ends. A group goes on where it was, in this process or another; after a crash changes
    that were done may be told again, and none is left out. Of the members of a group one reads; the others wait until
    his loop ends, or until his lease ends because he died.

    Args:
        feed: whose changes.
        entities: which instances are told of; other changes are passed over.
        start: where to begin; a group that has been somewhere goes on there instead.
        group: the member that this stream is; ``None``: nothing is remembered.
        wait: ``False`` ends the loop where it would have to wait: at a silent feed, or for another member's turn.
        longest_pause: seconds between two looks at a feed that is silent; pauses grow up to this.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        entities: Iterable[Entity[M]],
        *,
        start: Start,
        group: Group | None,
        wait: bool,
        longest_pause: float,
    ) -> None:
        self._feed = feed
        self._entities = {entity.kind: entity for entity in entities}
        self._start: Start = start
        self._group = group
        self._wait = wait
        self._longest_pause = longest_pause
        self._pause = _FIRST_PAUSE_SECONDS
        self._ended = asyncio.Event()
        self._has_begun = False
        self._buffer: deque[Change] = deque()
        self._given: Change | None = None
        self._read: FeedPosition | None = None
        self._done: FeedPosition | None = None
        self._unsaved = 0

    @property
    def position(self) -> FeedPosition | None:
        """Everything up to here is done; ``None`` before the oldest change."""
        return self._done

    @property
    def fence(self) -> int | None:
        """A number that grows with every turn in the group; ``None`` without a group, or while it is another's turn.

        Whoever writes elsewhere can keep it there, and refuse a writer whose number is smaller.
        """
        return None if self._group is None else self._group.fence

    async def __aiter__(self) -> AsyncGenerator[EntityChange[M], None]:
        if self in self._feed.running:
            raise InvalidArgument("A stream is read by one loop at a time; make another with store.changes().")
        self._feed.running.add(self)
        try:
            while (change := await self._next()) is not None:
                yield change
        finally:
            await self._leave()

    async def commit(self) -> None:
        """Count everything up to and with the present change as done, and save it; outside the loop there is none.

        Raises:
            ConditionFailed: another member of the group has the turn by now, and is told of it again.
        """
        self._settle()
        if self._group is None or not (self._group.is_held or self._unsaved):
            return
        self._group.position = self._done
        try:
            await self._group.save()
        except LeaseLostError as exc:
            raise ConditionFailed(
                f"Another member of the group {self._group.name!r} has the turn by now; let its lease be longer than "
                "the program ever stands still."
            ) from exc
        self._unsaved = 0

    async def reset(self, start: Start = "latest") -> None:
        """Let the group go on at ``start``, whatever it has done; a member who is reading starts there too.

        Raises:
            InvalidArgument: the stream has no group.
        """
        if self._group is None:
            raise InvalidArgument("Only a group remembers where it is; name it: store.changes(group=…).")
        await self._group.reset(await self._feed.resolve(start))

    async def close(self) -> None:
        """End the loop, and save what is done; a second call does nothing."""
        self._ended.set()
        await self._leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _next(self) -> EntityChange[M] | None:
        """The next change, however long it takes; ``None`` when the stream has ended."""
        self._settle()
        while not self._ended.is_set():
            try:
                if await self._has_turn() and (change := await self._look()) is not None:
                    return change
            except LeaseLostError:
                continue
            except StorycoreError:
                if self._ended.is_set():  # the store was closed meanwhile
                    break
                raise
            if not self._wait:
                break
            await self._rest()
        return None

    def _settle(self) -> None:
        """The change that was given out is done."""
        if self._given is not None:
            self._done = self._given.position
            self._given = None
            self._unsaved += 1

    async def _has_turn(self) -> bool:
        """Whether this stream may read now."""
        if self._group is None:
            if not self._has_begun:
                self._read = self._done = await self._feed.resolve(self._start)
                self._has_begun = True
            return True
        if self._group.is_held:
            return True
        self._buffer.clear()
        if not await self._group.take(lambda: self._feed.resolve(self._start)):
            return False
        self._read = self._done = self._group.position
        self._unsaved = 0
        return True

    async def _look(self) -> EntityChange[M] | None:
        """The next change; ``None`` when the feed is silent."""
        while True:
            while self._buffer:
                change = self._buffer.popleft()
                entity = self._entities.get(change.kind)
                if entity is not None:
                    await self._keep(is_silent=False)
                    self._given = change
                    self._pause = _FIRST_PAUSE_SECONDS
                    return _told(entity, change)
                self._done = change.position
            await self._keep(is_silent=False)
            page = await self._page()
            if self._ended.is_set():
                return None
            self._read = page.next
            self._buffer.extend(page.changes)
            if not page.changes:
                self._done = page.next
                await self._keep(is_silent=True)
                return None

    async def _keep(self, *, is_silent: bool) -> None:
        """Keep the turn, and save what is done when it is time; what was passed over is saved when the turn is."""
        if self._group is None:
            return
        self._group.position = self._done
        if self._unsaved >= _DONE_UNSAVED or (is_silent and self._unsaved):
            await self._group.save()
            self._unsaved = 0
        else:
            await self._group.hold()

    async def _page(self) -> ChangePage:
        try:
            return await self._feed.store.changes(self._read, limit=_PAGE)
        except Unsupported:
            raise
        except Corrupt:  # a body is lost, which is told where its instance is asked for
            return await self._feed.raw.changes(self._read, limit=1)
        except (FeedGap, InvalidArgument) as exc:
            if self._group is None:
                raise
            name = self._group.name
            raise FeedGap(
                f"Changes that the group {name!r} has not read are no longer kept. Let it go on at the end with "
                f"`await store.changes(group={name!r}).reset('latest')`, then bring up to date what it feeds by a scan."
            ) from exc

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._pause):
                await self._ended.wait()
        except TimeoutError:
            self._pause = min(self._pause * 2, self._longest_pause)

    async def _leave(self) -> None:
        """Save what is done and let others have the turn; what was given out and not done is told again."""
        self._buffer.clear()
        self._given = None
        self._read = self._done
        self._feed.running.discard(self)
        if self._group is not None and self._group.is_held:
            self._group.position = self._done
            if await self._group.release():
                self._unsaved = 0


def _told(entity: Entity[M], change: Change) -> EntityChange[M]:
    return EntityChange(
        entity=entity,
        key=change.key,
        action=change.action,
        version=change.version,
        at=change.at,
        position=change.position,
        record=change.record,
    )
