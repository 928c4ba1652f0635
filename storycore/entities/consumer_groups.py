"""Consumer groups: how far a group has read the change feed, and which of its members reads on, in one record.

The record is written under its version, so of two members who believe that it is their turn one is refused. The lease
in it only tells the others how long to wait.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from storycore.errors import ConditionFailed, Corrupt, InvalidArgument, StorycoreError, VersionConflict
from storycore.layers.deadline import timeless
from storycore.ports.conditions import ABSENT, Condition, Matches, Version
from storycore.ports.entities import EntityStore, FeedPosition, Key, Put, Record
from storycore.ports.environment import Environment

__all__ = ["GROUP_KIND", "Group", "LeaseLostError", "Place"]

GROUP_KIND = "change_group"
"""The kind of the records that keep groups; no entity's own, so no stream tells of them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BEATS_PER_LEASE = 3
_ATTEMPTS = 3


class LeaseLostError(Exception):
    """Another member of the group reads now; what was not saved is told again, to him."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a group's record holds.

    Args:
        position: everything up to here is done; ``None``: nothing is.
        owner: the member whose turn it is; ``""``: nobody's.
        until: the end of his lease.
    """

    position: FeedPosition | None
    owner: str
    until: datetime


class Group:
    """One member of a group.

    Args:
        store: keeps the group's record.
        env: tells the time, by which leases end, and names the member.
        name: of the group: 1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``, a letter or digit first.
        lease: after this time without a sign of life another member takes over.

    Raises:
        InvalidArgument: no such name, or a lease below one second.
    """

    def __init__(self, store: EntityStore, env: Environment, name: str, lease: timedelta) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"A group's name is 1 to 64 letters, digits, '_', '.' and '-', a letter or digit first, not {name!r}."
            )
        if not isinstance(lease, timedelta) or lease < timedelta(seconds=1):
            raise InvalidArgument(f"A lease lasts a second or longer, not {lease!r}.")
        self.name = name
        self.position: FeedPosition | None = None
        self._store = store
        self._env = env
        self._lease = lease
        self._owner = env.new_id()
        self._place: Place | None = None
        self._version: Version | None = None
        self._fence: int | None = None
        self._writing = asyncio.Lock()
        self._heart: asyncio.Task[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is this member's turn, as far as he knows."""
        return self._place is not None

    @property
    def fence(self) -> int | None:
        """Greater than that of every turn before; ``None`` while it is not this member's."""
        return None if self._place is None else self._fence

    async def take(self, start: Callable[[], Awaitable[FeedPosition | None]]) -> bool:
        """Take the turn if it is nobody else's; ``position`` is then where to go on.

        Args:
            start: gives the position of a group that has none yet.
        """
        record = await self._read()
        if record is None:
            return await self._claim(Place(position=await start(), owner="", until=self._now()), ABSENT)
        place = _place(record)
        if place.owner not in ("", self._owner) and place.until > self._now():
            return False
        return await self._claim(place, Matches(record.version))

    async def hold(self) -> None:
        """See to it that the turn lasts; writes only when a third of the lease is over.

        Raises:
            LeaseLostError: the turn is another's.
        """
        if self._place is None:
            raise LeaseLostError
        if self._now() >= self._place.until - self._lease * (1 - 1 / _BEATS_PER_LEASE):
            await self.save()

    async def save(self) -> None:
        """Keep ``position`` for good, and renew the lease.

        Raises:
            LeaseLostError: the turn is another's; nothing was saved.
        """
        await self._renew(lambda place: replace(place, position=self.position, until=self._now() + self._lease))

    async def release(self) -> bool:
        """Save, and let another member have the turn at once; does nothing without the turn.

        Returns:
            whether ``position`` is saved.

        Where the store fails, the turn ends with its lease, and what was not saved is told again.
        """
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
            self._heart = None
        if self._place is not None:
            with suppress(StorycoreError, LeaseLostError):
                await self._renew(lambda place: replace(place, position=self.position, owner="", until=self._now()))
                self._place = None
                return True
            self._place = None
        return False

    async def reset(self, position: FeedPosition | None) -> None:
        """Let the group go on at ``position``; whoever has the turn loses it."""
        place = Place(position=position, owner="", until=self._now())
        while True:
            record = await self._read()
            with suppress(ConditionFailed):
                await self._write(place, ABSENT if record is None else Matches(record.version))
                return

    async def _claim(self, place: Place, when: Condition) -> bool:
        mine = replace(place, owner=self._owner, until=self._now() + self._lease)
        try:
            self._fence = self._version = await self._write(mine, when)
        except ConditionFailed:
            return False
        self._place, self.position = mine, mine.position
        if self._heart is None or self._heart.done():
            self._heart = asyncio.get_running_loop().create_task(self._beat(), context=timeless())
        return True

    async def _renew(self, change: Callable[[Place], Place]) -> None:
        async with self._writing:
            for _ in range(_ATTEMPTS):
                if self._place is None or self._version is None:
                    break
                wanted = change(self._place)
                try:
                    self._version = await self._write(wanted, Matches(self._version))
                except VersionConflict:
                    await self._look_again()
                else:
                    self._place = wanted
                    return
            raise LeaseLostError

    async def _look_again(self) -> None:
        """A write of one's own whose outcome was not heard of may have come between; then the turn goes on."""
        record = await self._read()
        if record is not None and _place(record).owner == self._owner:
            self._version = record.version
        else:
            self._place = None

    async def _beat(self) -> None:
        """Give signs of life while the consumer is busy with a change."""
        while self._place is not None:
            await asyncio.sleep(self._lease.total_seconds() / _BEATS_PER_LEASE)
            with suppress(StorycoreError, LeaseLostError):  # the consumer hears of it when he asks for the next change
                await self.save()

    async def _read(self) -> Record | None:
        [record] = await self._store.get([self._key], consistent=True)
        return record

    async def _write(self, place: Place, when: Condition) -> Version:
        body = orjson.dumps([place.position, place.owner, place.until])
        [written] = await self._store.write([Put(key=self._key, kind=GROUP_KIND, body=body, when=when)])
        assert written.version is not None
        return written.version

    @property
    def _key(self) -> Key:
        return Key(f"!group#{self.name}", "place")

    def _now(self) -> datetime:
        return self._env.clock.now()


def _place(record: Record) -> Place:
    try:
        position, owner, until = orjson.loads(record.body)
        return Place(position=position, owner=owner, until=datetime.fromisoformat(until))
    except (ValueError, TypeError) as exc:
        raise Corrupt(
            f"The record of the group {record.key.pk!r} cannot be read; set the group back with reset()."
        ) from exc
