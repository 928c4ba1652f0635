"""Recordings: the changes that lead from a backup to any moment behind it, found among the segments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry
from storycore.backup.findings import PASSING
from storycore.backup.manifest import Manifest
from storycore.backup.objects import Place
from storycore.backup.owners import Keyring
from storycore.backup.refusals import Refusals
from storycore.backup.seals import first_sealed, worst
from storycore.backup.segments import Head, Series, Tip
from storycore.errors import AccessDenied, AlreadyExists, Corrupt, StorycoreError, VersionConflict
from storycore.ports.instants import micros
from storycore.ports.lifecycle import PortName

__all__ = ["Reach", "Recordings", "Tail", "reach_of", "require_whole"]

_OVERLAP = timedelta(seconds=10)
"""So far before a backup's moment the changes over it begin: applying one twice is harmless, leaving one out is not."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The changes that lead from a backup to a moment behind it.

    Args:
        as_of: the moment that is reached.
        series: where they lie.
        numbers: the segments.
        keyring: opens what belongs to somebody.
    """

    as_of: datetime
    series: Series
    numbers: range
    keyring: Keyring

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """What was changed, in order.

        Raises:
            Corrupt: a segment is missing or damaged, or does not follow the one in front.
        """
        last, previous = micros(self.as_of), ""
        for number in self.numbers:
            segment = await self.series.read(number)
            if previous not in ("", segment.head.previous):
                raise Corrupt(
                    f"Segment {number} of the recording behind the backup {self.series.id} does not follow the one in "
                    "front of it; one of them was exchanged."
                )
            previous = segment.digest
            yield await self.keyring.opened([entry for at, entry in segment.changes if at <= last])


class Recordings:
    """What was recorded of one store.

    Args:
        archive: where it lies.
        store: the namespace of the store.
    """

    def __init__(self, archive: Archive, store: str) -> None:
        self._archive = archive
        self._store = store

    async def tail(self, base: Manifest, at: datetime) -> Tail | None:
        """The changes from a backup to a moment, or as near to it as was recorded; ``None``: nothing was.

        Raises:
            Corrupt: a segment that is needed is missing; the error says which.
        """
        reach = await self._over(base)
        if reach is None:
            return None
        as_of = min(at, reach.until)
        if as_of < base.as_of:
            return None
        numbers = reach.numbers
        first = await _first(reach, lambda head: head.through, base.as_of - _OVERLAP)
        last = await _last(reach, as_of)
        wanted = range(numbers[first], numbers[last] + 1) if first < len(numbers) else range(0)
        return Tail(as_of, reach.series, require_whole(reach, wanted), self._archive.keyring())

    async def newest(self) -> Reach | None:
        """The series that goes on now; one whose key does not open is none: anybody may have put it there.

        Raises:
            Corrupt: it is damaged.
            AccessDenied: there are some of this store, and none opens: the key is wrong.
        """
        is_last, denied = True, None
        for id_ in await self._ids():
            place, why = await self._opened(id_)
            reach = None if place is None else await self._reach(place)
            if reach is not None:
                return replace(reach, is_last=is_last)
            is_last = is_last and why is None
            denied = denied or (why if isinstance(why, AccessDenied) else None)
        if denied is not None:
            raise denied
        return None

    async def _over(self, base: Manifest) -> Reach | None:
        """The latest series that begins not behind a backup's moment."""
        for id_ in await self._ids():
            if _made(id_) > _stamp(base.as_of):
                continue
            place, _ = await self._opened(id_)
            reach = None if place is None else await self._reach(place)
            if reach is not None and reach.since <= base.as_of:
                return reach
        return None

    async def _reach(self, place: Place) -> Reach | None:
        """How far a series reaches; ``None``: it has not begun, or is another store's."""
        reach = await reach_of(Series(place))
        return reach if reach is not None and reach.store == self._store else None

    async def _opened(self, id_: str) -> tuple[Place | None, StorycoreError | None]:
        """Where a series lies; or why its key does not open, unless it is another store's, which has one of its own."""
        try:
            return await self._archive.place(_place(id_)), None
        except Corrupt as exc:
            return None, exc
        except AccessDenied as exc:
            return None, exc if await self._archive.store_of(id_) in (self._store, None) else None

    async def verify(self) -> list[str]:
        """Read everything; one sentence for each thing that is lost."""
        problems: list[str] = []
        for id_ in await self._ids():
            try:
                place, why = await self._opened(id_)
                problems += [] if place is None else await _problems(Series(place))
                problems += [] if why is None else [why.message]
            except PASSING:
                raise
            except StorycoreError as exc:
                problems.append(exc.message)
        return problems

    async def prune(self, oldest: datetime, refusals: Refusals, *, dry_run: bool = False) -> int:
        """Remove what no backup from ``oldest`` on needs; how many segments. Can be repeated.

        What is damaged is left alone; ``verify`` names it.

        Args:
            oldest: the moment of the oldest backup that stays.
            refusals: are told of what may not be removed.
        """
        removed, is_newest = 0, True
        for id_ in await self._ids():
            place, _ = await self._opened(id_)
            reach = None
            with suppress(Corrupt):
                reach = None if place is None else await self._reach(place)
            if reach is None:
                continue
            with refusals.borne(_place(id_)):
                if not is_newest and reach.until < oldest:
                    if not dry_run:
                        await self._archive.discard(_place(id_))
                    removed += len(reach.numbers)
                elif reach.numbers:
                    removed += await _shortened(reach, oldest - _OVERLAP, dry_run=dry_run)
            is_newest = False
        return removed

    async def places(self) -> list[str]:
        """Where series lie, for rotating their keys."""
        return [_place(id_) for id_ in await self._ids()]

    async def base(self) -> Manifest | None:
        """The newest backup of this store on which a series can build, whose manifest bears its seal.

        Raises:
            AccessDenied: there are some, and none opens: the key is wrong.
        """
        listed = [each for each in (await self._archive.listing()).manifests if _is_base(each, self._store)]
        base, unread = await first_sealed(self._archive, listed)
        if base is None and unread and isinstance(why := worst(unread)[1], AccessDenied):
            raise why
        return base

    async def series(self, id_: str) -> Series:
        """The series behind a backup, which is begun where there is none."""
        return Series(await self._archive.made_place(_place(id_)))

    async def _ids(self) -> list[str]:
        """Newest first."""
        return sorted(await self._archive.recordings(), key=_made, reverse=True)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a series reaches.

    Args:
        series: the series.
        store: of which store.
        since: whatever was written later is in it,
        until: if it was written before this.
        position: in the change feed, behind it.
        numbers: of its segments.
        through: the latest moment of its changes.
        expected: the number of its last segment, as it says itself.
        is_last: whether there is no later series that does not open.
    """

    series: Series
    store: str
    since: datetime
    until: datetime
    position: str
    numbers: Sequence[int]
    through: datetime
    expected: int
    is_last: bool = True


def _is_base(manifest: Manifest, store: str) -> bool:
    content = manifest.ports.get(PortName.ENTITIES)
    return manifest.store == store and content is not None and content.position is not None


async def reach_of(series: Series) -> Reach | None:
    """How far a series reaches; ``None``: it has not begun.

    Raises:
        Corrupt: its first or last segment is damaged.
    """
    numbers, tip = await series.numbers(), await _tip(series)
    if not numbers:
        if tip is None:
            return None
        return Reach(series, tip.store, tip.since, tip.until, tip.position, (), tip.since, tip.number)
    first, last = await series.head(numbers[0]), await series.head(numbers[-1])
    is_fresh = tip is not None and tip.number == last.number
    return Reach(
        series,
        last.store,
        first.since,
        last.until if tip is None or tip.number < last.number else tip.until,
        tip.position if tip is not None and is_fresh else last.last,
        numbers,
        last.through,
        last.number if tip is None else max(last.number, tip.number),
    )


async def _first(reach: Reach, moment: Callable[[Head], datetime], at: datetime) -> int:
    """Where among the segments the first lies whose moment, which only grows, is not before ``at``."""
    low, high = 0, len(reach.numbers)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if moment(await reach.series.head(reach.numbers[middle])) < at else (low, middle)
    return low


async def _shortened(reach: Reach, oldest: datetime, *, dry_run: bool) -> int:
    """Remove the segments that hold nothing as late as this; how many. The last one stays, for the next to follow."""
    with suppress(Corrupt, VersionConflict, AlreadyExists):  # it is damaged, or somebody else does the same
        first = min(await _first(reach, lambda head: head.through, oldest), len(reach.numbers) - 1)
        if not dry_run:
            await reach.series.cut(reach.numbers[first])
        return first
    return 0


async def _last(reach: Reach, at: datetime) -> int:
    """Where among the segments the last lies that may have something that was written until then.

    Where a clock went ahead and came back, segments behind such a one have changes of earlier moments again.
    """
    last = min(await _first(reach, lambda head: head.until, at), max(len(reach.numbers) - 1, 0))
    while last + 1 < len(reach.numbers) and (await reach.series.head(reach.numbers[last + 1])).first_at <= at:
        last += 1
    return last


def require_whole(reach: Reach, wanted: range) -> range:
    """The same numbers, if all of them are there.

    Raises:
        Corrupt: one is missing.
    """
    there = set(reach.numbers)
    missing = [number for number in wanted if number not in there]
    if wanted and wanted[-1] == reach.numbers[-1]:
        missing += range(reach.numbers[-1] + 1, reach.expected + 1)
    if not wanted and reach.expected and not reach.numbers:
        missing = [reach.expected]
    if missing:
        raise Corrupt(
            f"Segment {missing[0]} of the recording behind the backup {reach.series.id} is not there; moments behind "
            "it can be restored from the next backup on."
        )
    return wanted


async def _tip(series: Series) -> Tip | None:
    """How far it says that it reaches; a damaged note says nothing, and the next one goes over it."""
    try:
        return await series.tip()
    except Corrupt:
        return None


async def _problems(series: Series) -> list[str]:
    problems: list[str] = []
    numbers = await series.numbers()
    first, end = (numbers[0], numbers[-1]) if numbers else (1, 0)
    try:
        first = await series.first()
    except Corrupt as exc:
        problems.append(exc.message)
    try:
        tip = await series.tip()
        end = max(end, 0 if tip is None else tip.number)
    except Corrupt as exc:
        problems.append(exc.message)
    previous = ""
    for number in range(first, end + 1):
        try:
            segment = await series.read(number)
        except PASSING:
            raise
        except StorycoreError as exc:
            problems.append(exc.message)
            previous = ""
            continue
        if previous not in ("", segment.head.previous):
            problems.append(
                f"Segment {number} of the recording behind the backup {series.id} does not follow the one in front."
            )
        previous = segment.digest
    return problems


def _made(id_: str) -> str:
    """When a backup was begun, as its id says."""
    return id_.partition("_")[2]


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%d_%H%M%S}~"


def _place(id_: str) -> str:
    return f"segments/{id_}"
