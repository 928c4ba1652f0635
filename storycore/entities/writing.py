"""Writing instances: under the version they were read in, whole, counted or rewritten, alone or in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.batches import write_all
from storycore.entities.codec import from_record, key_of, to_put
from storycore.entities.declaration import Entity
from storycore.entities.filtering import matches
from storycore.entities.patching import Changes
from storycore.entities.stamps import stamp, stamp_of
from storycore.entities.timestamps import Touched, touch
from storycore.errors import ConditionFailed, NotFound, PartialFailure, StorycoreError, VersionConflict
from storycore.ports.conditions import ANY, Condition, Matches
from storycore.ports.entities import Delete, EntityStore, Key, Patch, Written
from storycore.ports.environment import Environment

__all__ = ["Writer", "not_found"]

M = TypeVar("M", bound=BaseModel)

_ATTEMPTS = 16
_LONGEST_PAUSE_SECONDS = 0.04


@dataclass(frozen=True, slots=True)
class Writer(Generic[M]):
    """What a repository writes with.

    Args:
        entity: the declaration.
        store: where records go.
        env: tells the time, and draws the pauses between attempts.
    """

    entity: Entity[M]
    store: EntityStore
    env: Environment

    def expected(self, instance: M) -> Condition:
        """The version that the instance was loaded or saved under, or ``ANY`` for one that never was."""
        version = stamp_of(instance, key_of(self.entity, instance))
        return ANY if version is None else Matches(version)

    async def put(self, instance: M, when: Condition | None) -> M:
        """Store an instance whole and stamp it; by default only over its own version."""
        expected = self.expected(instance)
        touched = self._touched(instance, expected)
        write = to_put(self.entity, touched.candidate, when=expected if when is None else when)
        [written] = await self.store.write([write])
        return _settled(touched, written)

    async def put_all(self, instances: Iterable[M]) -> int:
        """Store each as ``put`` does; nothing is written unless all are valid."""
        claims = [(instance, self.expected(instance)) for instance in instances]
        touched = [self._touched(instance, expected) for instance, expected in claims]
        writes = [to_put(self.entity, t.candidate, when=when) for t, (_, when) in zip(touched, claims, strict=True)]
        outcomes = await write_all(self.store, writes)
        results = [
            _settled(item, outcome) if isinstance(outcome, Written) else outcome
            for item, outcome in zip(touched, outcomes, strict=True)
        ]
        self._raise_failures(results)
        return len(results)

    async def delete_all(self, keys: Iterable[Key]) -> int:
        """Remove what is under the keys; returns how many there were."""
        outcomes = await write_all(self.store, [Delete(key=key) for key in keys])
        self._raise_failures(outcomes)
        return sum(isinstance(outcome, Written) and outcome.version is not None for outcome in outcomes)

    async def count(self, key: Key, changes: Changes) -> M:
        """Add to counters by one patch of the store; ``changes`` must do nothing else."""
        amounts: dict[str, Any] = dict(changes.add)  # int or Decimal, as only_count() has made sure
        try:
            [written] = await self.store.write([Patch(key=key, add=amounts)])
        except NotFound as exc:
            raise not_found(self.entity.kind, key) from exc
        assert written.record is not None
        return from_record(self.entity, written.record)

    async def rewrite(self, key: Key, decide: Callable[[M], Changes | None]) -> M:
        """Read, change and write under the version that was read, again while others are faster."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._rewrite_once(key, decide)
            except VersionConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            longest = min(_LONGEST_PAUSE_SECONDS, 0.001 * 2**attempt)
            await asyncio.sleep(self.env.random.uniform(0, longest))
        raise AssertionError("the last attempt returns or raises")

    async def _rewrite_once(self, key: Key, decide: Callable[[M], Changes | None]) -> M:
        [record] = await self.store.get([key], consistent=True)
        if record is None:
            raise not_found(self.entity.kind, key)
        current = from_record(self.entity, record)
        changes = decide(current)
        if changes is None:
            return current
        if changes.when is not None and not matches(changes.when, current):
            raise ConditionFailed(f"The {self.entity.kind} does not match the patch's condition; nothing was changed.")
        changed = changes.applied(self.entity, current)
        touched = touch(self.entity, changed, self.env.clock.now(), is_stored=True, keep=changes.set)
        write = to_put(self.entity, touched.candidate, when=Matches(record.version))
        [written] = await self.store.write([write])
        return _settled(touched, written)

    def _touched(self, instance: M, expected: Condition) -> Touched[M]:
        return touch(self.entity, instance, self.env.clock.now(), is_stored=isinstance(expected, Matches))

    def _raise_failures(self, outcomes: Sequence[object]) -> None:
        failed = [outcome for outcome in outcomes if isinstance(outcome, StorycoreError)]
        if failed:
            raise PartialFailure(
                f"{len(failed)} of {len(outcomes)} writes of {self.entity.kind!r} failed, the others are done. "
                f"{failed[0].message}",
                outcomes=outcomes,
            )


def not_found(kind: str, key: Key) -> NotFound:
    """The error for a key under which there is nothing."""
    return NotFound(f"There is no {kind} under ({key.pk!r}, {key.sk!r}), or it has expired.")


def _settled(touched: Touched[M], written: Written) -> M:
    assert written.version is not None
    touched.apply()
    stamp(touched.instance, written.key, written.version)
    return touched.instance
