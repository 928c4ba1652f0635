"""The recorder: what the change feed tells goes into segments as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry, OwnerOf
from storycore.backup.erasures import erasures
from storycore.backup.manifest import Manifest
from storycore.backup.recordings import Reach, Recordings, require_whole
from storycore.backup.segments import Head, Series, Tip
from storycore.backup.sources.entities import EntitySource, Fed
from storycore.errors import AccessDenied, AlreadyExists, Corrupt, FeedGap, StorycoreError, Unsupported
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.lifecycle import PortName

__all__ = ["Recorder", "Sealed"]

_SEGMENT_BYTES = 4 * 1024 * 1024
_IN_FLIGHT = timedelta(seconds=1)
"""A write is stamped so much before it is in the feed at most, besides the feed's own lag."""
_AHEAD = timedelta(minutes=1)
"""Clocks that are kept in time differ by less; a stamp further ahead is of one that went wrong."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a recorder did.

    Args:
        series: the backup behind which it records.
        until: every moment from that backup on up to this one can be restored; earlier than before where the clock was.
        segments: how many it wrote.
        changes: how many changes are in them.
        gap: what is lost between the last recording and this one, and why; ``""``: nothing.
    """

    series: str
    until: datetime
    segments: int = 0
    changes: int = 0
    gap: str = ""


@dataclass(slots=True)
class _State:
    """Where a recorder stands."""

    series: Series
    store: str
    since: datetime
    position: str
    number: int
    digest: str
    through: datetime
    until: datetime

    def tip(self) -> Tip:
        """For those who come later."""
        return Tip(number=self.number, store=self.store, since=self.since, position=self.position, until=self.until)


class Recorder:
    """Seals what the change feed tells, so that any second behind a backup can be restored.

    Two that record the same store at once do no harm: of each segment one is written.

    Args:
        archive: where the backups lie.
        source: the entities.
        env: time.
        store: the namespace of the store.
        owner_of: says to whom an entry belongs, where owners have keys of their own.
        segment_bytes: a segment ends when it holds so many bytes of changes.
    """

    def __init__(
        self,
        archive: Archive,
        source: EntitySource,
        env: Environment,
        *,
        store: str,
        owner_of: OwnerOf | None = None,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        self._recordings = Recordings(archive, store)
        self._source = source
        self._env = env
        self._store = store
        self._archive = archive
        self._owner_of = owner_of
        self._segment_bytes = segment_bytes
        self._state: _State | None = None

    async def settle(self) -> None:
        """Wait until the feed tells everything that was written before now."""
        await asyncio.sleep(self._source.lag.total_seconds())

    async def flush(self) -> None:
        """Seal everything that was written before now, where the recording goes on; else it begins behind a backup."""
        await self.settle()
        with suppress(AccessDenied, Corrupt, FeedGap, Unsupported):
            await self.seal_once()

    async def seal_once(self) -> Sealed:
        """Seal what was changed since the last time. After any error the next call goes on where the archive ends.

        Raises:
            FeedGap: changes are lost: the feed no longer has them, or a segment is missing or damaged; and there is no
                backup behind the loss. Make one, and call again.
        """
        gap = ""
        for _ in range(_TRIES):
            known = self._state
            try:
                state = self._state = known or await self._resumed() or await self._begun(None)
                return await self._sealed(state, gap)
            except AlreadyExists:  # another recorder was faster
                self._state = None
            except (FeedGap, Corrupt) as exc:
                self._state = None
                if known is None or gap:  # else another recorder may have gone on meanwhile
                    self._state, gap = await self._begun(exc), exc.message
            except BaseException:
                self._state = None
                raise
        raise FeedGap(f"Other recorders write the segments of {self._store} faster than this one; stop all but one.")

    async def run(
        self,
        *,
        every: timedelta = timedelta(seconds=60),
        renew: Callable[[], Awaitable[object]] | None = None,
        told: Callable[[Sealed], None] | None = None,
    ) -> None:
        """Seal for ever, with a pause between.

        Args:
            every: how long the pause is.
            renew: makes a backup where one is needed after a gap; without it ``FeedGap`` ends the run.
            told: told of each sealing.
        """
        while True:
            sealed = await self.seal(renew)
            if told is not None:
                told(sealed)
            await asyncio.sleep(every.total_seconds())

    async def seal(self, renew: Callable[[], Awaitable[object]] | None = None) -> Sealed:
        """The same as ``seal_once``, but where a backup is needed it is made by ``renew``."""
        try:
            return await self.seal_once()
        except FeedGap as exc:
            if renew is None:
                raise
            is_first = not await self._recordings.places()
            await renew()
            return replace(await self.seal_once(), gap="" if is_first else exc.message)

    async def _sealed(self, state: _State, gap: str) -> Sealed:
        begun, segments, count = self._env.clock.now(), 0, 0
        while True:
            changes, position, reached = await self._gathered(state.position, begun)
            until = state.until if reached is None else max(state.since, reached)
            if changes:
                await self._put(state, await self._enclosed(changes), position, until)
                segments, count = segments + 1, count + len(changes)
            state.position, state.until = position, until
            if reached is not None:
                await state.series.reach(state.tip())
                return Sealed(state.series.id, state.until, segments, count, gap)

    async def _gathered(
        self, position: str, begun: datetime
    ) -> tuple[Sequence[tuple[datetime, Entry]], str, datetime | None]:
        """The changes of one segment, the position behind them, and at the end up to when nothing is missing."""
        changes, size = list[tuple[datetime, Entry]](), 0
        while size < self._segment_bytes:
            fed = await self._source.feed(position)
            position = fed.next
            now = self._env.clock.now()
            changes += [(told.at if told.at <= now + _AHEAD else now, told.step.entry) for told in fed.told]
            size += sum(len(told.step.entry.item or b"") for told in fed.told)
            if _is_end(fed, begun):
                return changes, position, (fed.until or begun - self._source.lag) - _IN_FLIGHT
        return changes, position, None

    async def _put(
        self, state: _State, changes: Sequence[tuple[datetime, Entry]], position: str, until: datetime
    ) -> None:
        moments = [at for at, _ in changes]
        head = Head(
            number=state.number + 1,
            store=self._store,
            first=state.position,
            last=position,
            since=state.through if state.number else state.since,
            first_at=min(moments),
            last_at=max(moments),
            through=max(state.through, *moments),
            until=until,
            count=len(changes),
            previous=state.digest,
            seals_owners=self._owner_of is not None,
        )
        state.digest = await state.series.put(head, [(micros(at), entry) for at, entry in changes])
        state.number, state.through = head.number, head.through

    async def _enclosed(self, changes: Sequence[tuple[datetime, Entry]]) -> Sequence[tuple[datetime, Entry]]:
        if self._owner_of is None:
            return changes
        keyring = self._archive.keyring()
        port = str(PortName.ENTITIES)
        return [(at, (await keyring.enclosed(port, [entry], self._owner_of))[0]) for at, entry in changes]

    async def _resumed(self) -> _State | None:
        """Where the newest series ends; ``None``: there is none."""
        reach = await self._recordings.newest()
        if reach is None:
            return None
        if not reach.is_last:
            await self._require_not_outdated(reach)
        numbers = reach.numbers
        first = await reach.series.first()
        require_whole(reach, range(first, numbers[-1] + 1) if numbers else range(0))
        digest = await reach.series.digest(numbers[-1]) if numbers else ""
        return _State(
            reach.series, self._store, reach.since, reach.position, reach.expected, digest, reach.through, reach.until
        )

    async def _begun(self, loss: StorycoreError | None) -> _State:
        """A series behind the newest backup, where it has none yet."""
        base = await self._recordings.base()
        if base is None:
            raise FeedGap("There is no backup to record behind; make one first.") from loss
        if await self._is_outdated(base):
            why = f"Somebody was erased since the backup {base.id} was begun."
            raise FeedGap(f"{why} Make a backup; recording goes on behind it.") from loss
        try:
            series = await self._recordings.series(base.id)
            is_begun = await series.tip() is not None or bool(await series.numbers())
        except Corrupt as exc:
            raise FeedGap(f"{exc.message} Make a backup; recording goes on behind it.") from exc
        if is_begun:
            if loss is None and (state := await self._resumed()) is not None:
                return state  # another recorder has begun it meanwhile
            why = "" if loss is None else f"{loss.message} "
            raise FeedGap(f"{why}Make a backup; recording goes on behind it.") from loss
        position = base.ports[PortName.ENTITIES].position
        assert position is not None, "such a backup was not chosen"
        return _State(series, self._store, base.as_of, position, 0, "", base.as_of, base.as_of)

    async def _require_not_outdated(self, reach: Reach) -> None:
        """A later series may be lost; then the feed behind this one may tell of somebody who was erased meanwhile.

        Raises:
            FeedGap: somebody was.
        """
        noted = None if self._owner_of is None else await erasures(self._archive)
        if noted is not None and noted.at > reach.until:
            raise FeedGap(
                f"Somebody was erased since {reach.until}, and of the recording behind a later backup than "
                f"{reach.series.id} the key does not open."
            )

    async def _is_outdated(self, base: Manifest) -> bool:
        """Whether the feed behind a backup tells of somebody who was erased; that must not meet a new key."""
        noted = None if self._owner_of is None else await erasures(self._archive)
        return noted is not None and noted.at >= base.started_at


def _is_end(fed: Fed, begun: datetime) -> bool:
    """Whether everything that was written before ``begun`` has been told."""
    return fed.until is not None or (bool(fed.told) and all(told.at > begun for told in fed.told))
