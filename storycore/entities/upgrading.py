"""Upgrading: stored records are brought to the form that the declarations give now, while everybody goes on working."""

from __future__ import annotations

import asyncio
import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from storycore.entities.batches import each_alone, write_all
from storycore.entities.codec import from_record, to_put
from storycore.entities.declaration import Entity
from storycore.entities.scrutiny import LAYOUT_FIELD
from storycore.entities.soft_deletion import deleted_twin
from storycore.entities.steps import Step, carried_out
from storycore.entities.uniqueness import held_by, is_abandoned, marker_kind, markers, owner_key
from storycore.errors import (
    ConditionFailed,
    Corrupt,
    InvalidArgument,
    InvalidCursor,
    SchemaMismatch,
    StorycoreError,
    VersionConflict,
)
from storycore.ports.conditions import Matches
from storycore.ports.entities import Delete, EntityStore, Key, Position, Record, RecordPage, Segment, Written
from storycore.ports.environment import Environment

__all__ = ["UpgradeFailure", "UpgradeReport", "Upgrader"]

_ROUNDS = 3
_FAILURES_TOLD = 100
_LARGEST_BATCH = 1000
_OF_THE_RECORD = (Corrupt, SchemaMismatch, InvalidArgument, ConditionFailed)
"""Errors that concern one record; after any other the upgrade ends."""


@dataclass(frozen=True, slots=True)
class UpgradeFailure:
    """A record that stays as it is.

    Args:
        kind, key: of the record.
        error: why; its message says the cure.
    """

    kind: str
    key: Key
    error: StorycoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeReport:
    """How far an upgrade is, or what it did.

    Args:
        checked: records of the wanted kinds that were looked at.
        outdated: how many of them were not as the declaration gives them now.
        rewritten: how many were written anew; none in a dry run.
        lost: how many others kept writing faster; each was written by a program of its own time, so look again.
        failed: how many stay as they are because of an error.
        failures: the first 100 of these.
        freed: unique values that were taken, though nobody held them; in a dry run those that would be freed.
        resume: hand it in to go on behind the last batch; ``None`` when all is done.
    """

    checked: int = 0
    outdated: int = 0
    rewritten: int = 0
    lost: int = 0
    failed: int = 0
    failures: Sequence[UpgradeFailure] = ()
    freed: int = 0
    resume: str | None = None


class Upgrader:
    """Rewrites outdated records of some entities.

    A record is outdated when another layout wrote it, of a former schema, say, or of one with other indexes; or when
    its index keys are not those that the declaration gives. It is written anew under its version, so a writer who is
    faster is never overwritten, and with its timestamps. Unique values that nobody holds are freed, for a program that
    does not know of them may have removed their holders. Doing it twice changes nothing the second time.

    Args:
        store: where the records are.
        env: the pauses of contended writes.
        entities: the declarations.
        raw: the same store without what makes records whole; ``None``: there is nothing of the kind.
    """

    def __init__(
        self,
        store: EntityStore,
        env: Environment,
        entities: Iterable[Entity[Any]],
        *,
        raw: EntityStore | None = None,
    ) -> None:
        self._store = store
        self._raw = store if raw is None else raw
        self._env = env
        self._planners: dict[str, Callable[[Record], Step[None] | None]] = {}
        self._marker_kinds: set[str] = set()
        for entity in entities:
            self._marker_kinds.add(marker_kind(entity.kind))
            self._planners[entity.kind] = _Living(entity)
            if entity.soft_delete is not None:
                self._planners[deleted_twin(entity).kind] = _Deleted(entity)

    async def run(
        self,
        *,
        dry_run: bool = False,
        batch: int = 100,
        per_second: float | None = None,
        resume: str | None = None,
        progress: Callable[[UpgradeReport], None] | None = None,
    ) -> UpgradeReport:
        """Walk over the store and rewrite what is outdated; with ``dry_run`` only count it.

        Args:
            batch: how many records are read and written at once, 1 to 1000.
            per_second: rewrite no more records than this in a second; ``None``: as fast as the store can.
            resume: of the last report of an upgrade that was interrupted.
            progress: called after each batch.

        Raises:
            InvalidArgument: ``batch`` or ``per_second`` is out of range.
            InvalidCursor: ``resume`` is of no report.
            StorycoreError: the store failed; what was rewritten stays so.
        """
        _check(batch, per_second)
        after = None if resume is None else _position(resume)
        walk = _Walk(self._store, self._planners, self._marker_kinds, raw=self._raw, dry_run=dry_run)
        loop = asyncio.get_running_loop()
        while True:
            begun, done = loop.time(), walk.rewritten
            page = await self._page(walk, after, batch)
            await walk.take(page.records)
            after = page.next
            report = walk.report(None if after is None else _resume(after))
            if progress is not None:
                progress(report)
            if after is None:
                return report
            if per_second is not None:
                await asyncio.sleep((walk.rewritten - done) / per_second - (loop.time() - begun))

    async def _page(self, walk: _Walk, after: Position | None, limit: int) -> RecordPage:
        """The next records; where a body is lost, each is made whole by itself, so that only that one fails."""
        try:
            return await self._store.scan(Segment(), after=after, limit=limit)
        except Corrupt:
            page = await self._raw.scan(Segment(), after=after, limit=limit)
        whole = [await walk.whole(record) for record in page.records]
        return replace(page, records=[record for record in whole if record is not None])


class _Walk:
    """One pass over the store, batch by batch."""

    def __init__(
        self,
        store: EntityStore,
        planners: Mapping[str, Callable[[Record], Step[None] | None]],
        marker_kinds: Collection[str],
        *,
        raw: EntityStore,
        dry_run: bool,
    ) -> None:
        self._store = store
        self._raw = raw
        self._planners = planners
        self._marker_kinds = marker_kinds
        self._dry_run = dry_run
        self._failures: list[UpgradeFailure] = []
        self.checked = self.outdated = self.rewritten = self.lost = self.failed = self.freed = 0

    def report(self, resume: str | None) -> UpgradeReport:
        """Everything up to now."""
        return UpgradeReport(
            checked=self.checked,
            outdated=self.outdated,
            rewritten=self.rewritten,
            lost=self.lost,
            failed=self.failed,
            failures=tuple(self._failures),
            freed=self.freed,
            resume=resume,
        )

    async def take(self, records: Sequence[Record]) -> None:
        """Rewrite what is outdated of one batch; what others have changed meanwhile is read again."""
        await self._free([record for record in records if record.kind in self._marker_kinds])
        own = [record for record in records if record.kind in self._planners]
        self.checked += len(own)
        steps = self._planned(own)
        self.outdated += len(steps)
        if self._dry_run:
            return
        for _ in range(_ROUNDS):
            if not steps:
                return
            beaten = await self._carried_out(steps)
            found = await self._store.get(beaten, consistent=True) if beaten else []
            again = [record for record in found if record is not None and record.kind in self._planners]
            steps = self._planned(again)
        self.lost += len(steps)

    async def whole(self, record: Record) -> Record | None:
        """What lies under a bare record's key, with its body; ``None`` where that is lost, which is a failure."""
        if record.kind not in self._planners:
            return record
        try:
            [found] = await self._store.get([record.key], consistent=True)
        except Corrupt as exc:
            self.checked += 1
            self._fail(record.kind, record.key, exc)
            return None
        return found

    async def _free(self, taken: Sequence[Record]) -> None:
        """Remove markers of values that nobody holds; one that was written anew meanwhile stays."""
        owners = await self._raw.get([owner_key(marker) for marker in taken], consistent=True) if taken else []
        abandoned = [marker for marker, owner in zip(taken, owners, strict=True) if is_abandoned(marker, owner)]
        if abandoned and not self._dry_run:
            deletes = [Delete(key=marker.key, when=Matches(marker.version)) for marker in abandoned]
            self.freed += sum(isinstance(outcome, Written) for outcome in await write_all(self._store, deletes))
        else:
            self.freed += len(abandoned)

    def _planned(self, records: Sequence[Record]) -> dict[Key, tuple[str, Step[None]]]:
        """The steps of those that are outdated, each with the kind of its record."""
        steps: dict[Key, tuple[str, Step[None]]] = {}
        for record in records:
            try:
                step = self._planners[record.kind](record)
            except _OF_THE_RECORD as exc:
                self._fail(record.kind, record.key, exc)
            else:
                if step is not None:
                    steps[record.key] = (record.kind, step)
        return steps

    async def _carried_out(self, steps: Mapping[Key, tuple[str, Step[None]]]) -> list[Key]:
        """Write; the keys for which somebody was faster."""
        alone = [(kind, step) for kind, step in steps.values() if not step.companions]
        joint = [(kind, step) for kind, step in steps.values() if step.companions]
        outcomes: list[object] = []
        if alone:
            outcomes += await write_all(self._store, [step.write for _, step in alone])
        if joint:
            keys = [step.write.key for _, step in joint]
            outcomes += await each_alone(keys, lambda at: carried_out(self._store, joint[at][1]))
        beaten: list[Key] = []
        for (kind, step), outcome in zip([*alone, *joint], outcomes, strict=True):
            if isinstance(outcome, VersionConflict):
                beaten.append(step.write.key)
            elif isinstance(outcome, _OF_THE_RECORD):
                self._fail(kind, step.write.key, outcome)
            elif isinstance(outcome, StorycoreError):
                raise outcome
            else:
                self.rewritten += 1
        return beaten

    def _fail(self, kind: str, key: Key, error: StorycoreError) -> None:
        self.failed += 1
        if len(self._failures) < _FAILURES_TOLD:
            self._failures.append(UpgradeFailure(kind, key, error))


@dataclass(frozen=True, slots=True)
class _Living:
    """Plans the rewriting of instances."""

    entity: Entity[Any]  # of any model

    def __call__(self, record: Record) -> Step[None] | None:
        """What brings the record up to date; ``None`` when it is."""
        put = to_put(self.entity, from_record(self.entity, record), when=Matches(record.version))
        if put.key != record.key:
            raise SchemaMismatch(
                f"The {self.entity.kind} under ({record.key.pk!r}, {record.key.sk!r}) has another key by now; copy the "
                "instances to their new keys before the old ones are removed."
            )
        if self.entity.ttl is None:
            put = replace(put, expires_at=record.expires_at)
        if _is_present(self.entity, record) and put.index_keys == record.index_keys:
            return None
        unique = self.entity.unique
        return Step(put, _nothing, markers(self.entity.kind, held_by(record), put, unique))


@dataclass(frozen=True, slots=True)
class _Deleted:
    """Plans the rewriting of instances that were softly deleted; they stay where they are, and as long."""

    entity: Entity[Any]  # of any model

    def __call__(self, record: Record) -> Step[None] | None:
        """What brings the record up to date; ``None`` when it is."""
        if _is_present(self.entity, record):
            return None
        twin = deleted_twin(self.entity)
        put = to_put(twin, from_record(twin, record), when=Matches(record.version))
        fields = {**put.fields, LAYOUT_FIELD: self.entity.layout}
        return Step(replace(put, key=record.key, fields=fields, expires_at=record.expires_at), _nothing)


def _is_present(entity: Entity[Any], record: Record) -> bool:  # of any model
    return record.fields.get(LAYOUT_FIELD) == entity.layout


def _nothing(_: Written) -> None:
    """Nobody waits for the outcome of a rewritten record."""


def _check(batch: int, per_second: float | None) -> None:
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= _LARGEST_BATCH:
        raise InvalidArgument(f"A batch has 1 to {_LARGEST_BATCH} records, not {batch!r}.")
    if per_second is not None and not (isinstance(per_second, int | float) and per_second > 0):
        raise InvalidArgument(f"per_second is a number above 0, not {per_second!r}.")


def _resume(position: Position) -> str:
    return urlsafe_b64encode(orjson.dumps([position.key.pk, position.key.sk])).decode().rstrip("=")


def _position(resume: str) -> Position:
    try:
        pk, sk = orjson.loads(urlsafe_b64decode(resume + "=" * (-len(resume) % 4)))
        return Position(Key(str(pk), str(sk)))
    except (ValueError, TypeError, AttributeError, binascii.Error) as exc:
        raise InvalidCursor(f"{resume!r:.100} is not where an upgrade stopped; leave it out to begin anew.") from exc
