"""Writing instances: what a change needs to know of the store, and doing it again while others are faster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from storycore.entities.batches import each_alone, write_all
from storycore.entities.codec import from_record, key_of
from storycore.entities.declaration import Entity
from storycore.entities.patching import Changes
from storycore.entities.planning import Claim, Planner, not_found
from storycore.entities.scrutiny import LAYOUT_FIELD
from storycore.entities.soft_deletion import grave_key
from storycore.entities.steps import Companion, carried_out
from storycore.entities.uniqueness import NOTHING, held_by
from storycore.errors import AlreadyExists, NotFound, PartialFailure, Retry, StorycoreError, VersionConflict
from storycore.layers.checks.writes import check_condition
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches
from storycore.ports.entities import Delete, EntityStore, Key, QueryPlan, Record, Written
from storycore.ports.environment import Environment
from storycore.ports.records import refusal

__all__ = ["ATTEMPTS", "Upserted", "Writer", "not_found", "pause"]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ATTEMPTS = 16
"""How often a write is tried while others are faster."""
_LONGEST_PAUSE_SECONDS = 0.04


class Upserted(NamedTuple, Generic[M]):
    """What an upsert did.

    Args:
        instance: as it now is.
        created: whether it was not there before.
    """

    instance: M
    created: bool


async def pause(env: Environment, attempt: int) -> None:
    """Let others go first: longer with every attempt, at random, at most 40 ms."""
    longest = min(_LONGEST_PAUSE_SECONDS, 0.001 * 2**attempt)
    await asyncio.sleep(env.random.uniform(0, longest))


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
    planner: Planner[M] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.entity, self.env.clock))

    async def put(self, instance: M, when: Condition | None) -> M:
        """Store an instance whole and stamp it; by default only over its own version."""
        claim = self.planner.claim(instance, when)
        if claim.held is None:
            return await self._put_over(instance, claim)
        return await carried_out(self.store, self.planner.put(instance, claim.when, claim.held))

    async def put_all(self, instances: Iterable[M]) -> int:
        """Store each as ``put`` does; nothing is written unless all are valid."""
        given = list(instances)
        claims = [self.planner.claim(instance) for instance in given]
        steps = [self.planner.put(i, c.when, c.held or NOTHING) for i, c in zip(given, claims, strict=True)]
        if self.entity.has_companions:
            keys = [step.write.key for step in steps]
            outcomes = await each_alone(keys, lambda position: self.put(given[position], None))
        else:
            written = await write_all(self.store, [step.write for step in steps])
            outcomes = [
                step.settle(outcome) if isinstance(outcome, Written) else outcome
                for step, outcome in zip(steps, written, strict=True)
            ]
        self._raise_failures(outcomes)
        return len(outcomes)

    async def delete(self, key: Key, when: Condition) -> bool:
        """Delete what is under the key, softly where that is declared; tells whether there was anything."""
        check_condition(when)
        if not self.entity.has_companions:
            return await carried_out(self.store, self.planner.delete(key, when))
        if when in (ANY, PRESENT):
            return await self._again(lambda _: self._delete_once(key, when))
        return await self._delete_once(key, when)

    async def delete_instance(self, instance: M, when: Condition | None) -> bool:
        """Delete an instance; by default in the version that it was loaded or saved under, if it was."""
        claim = self.planner.claim(instance, when)
        if self.entity.soft_delete is None and claim.held is not None:
            return await carried_out(self.store, self.planner.delete(claim.key, claim.when, claim.held))
        return await self.delete(claim.key, claim.when)

    async def delete_all(self, keys: Iterable[Key]) -> int:
        """Delete what is under the keys; returns how many there were."""
        given = list(keys)
        outcomes: Sequence[object]
        if self.entity.has_companions:
            outcomes = await each_alone(given, lambda position: self.delete(given[position], ANY))
        else:
            written = await write_all(self.store, [Delete(key=key) for key in given])
            outcomes = [o.version is not None if isinstance(o, Written) else o for o in written]
        self._raise_failures(outcomes)
        return sum(outcome is True for outcome in outcomes)

    async def patch(self, key: Key, changes: Changes) -> M:
        """Change a stored instance: in one step of the store if that can do it, else by a rewrite."""
        if not changes.is_one_step(self.entity):
            return await self.rewrite(key, lambda _: changes)
        try:
            [written] = await self.store.write([self.planner.one_step(key, changes).write])
        except NotFound as exc:
            raise not_found(self.entity.kind, key) from exc
        assert written.record is not None
        regrouped = changes.of_members()
        if regrouped is not None and not self.entity.has_present_form(written.record.fields.get(LAYOUT_FIELD)):
            return await self.rewrite(key, lambda _: regrouped)  # an older layout may keep the set in the body
        return from_record(self.entity, written.record)

    async def rewrite(self, key: Key, decide: Callable[[M], Changes | None]) -> M:
        """Read, change and write under the version that was read, again while others are faster."""
        return await self._again(lambda _: self._rewrite_once(key, decide))

    async def upsert(self, instance: M, changes: Changes | None) -> Upserted[M]:
        """Store the instance if its key is free; else change the stored one."""
        key = key_of(self.entity, instance)

        async def once(_: int) -> Upserted[M]:
            try:
                found = await self._found(key, changes)
            except NotFound:
                created = await carried_out(self.store, self.planner.put(instance, ABSENT))
                return Upserted(created, created=True)
            return Upserted(found, created=False)

        return await self._again(once)

    async def restore(self, key: Key) -> M:
        """Bring a deleted instance back."""

        async def once(_: int) -> M:
            grave = await self._read(grave_key(key))
            if grave is None:
                raise NotFound(f"There is no deleted {self.entity.kind} under ({key.pk!r}, {key.sk!r}).")
            return await carried_out(self.store, self.planner.restoration(grave))

        return await self._again(once)

    async def purge(self, key: Key) -> bool:
        """Remove for good what is under the key, deleted or not, readable or not; tells whether there was anything."""

        async def once(_: int) -> bool:
            live, grave = await self._bare(key), await self._bare(grave_key(key))
            when = ABSENT if live is None else Matches(live.version)
            step = self.planner.delete(key, when, NOTHING if live is None else held_by(live))
            emptied = Companion(Delete(key=grave_key(key)))
            await carried_out(self.store, replace(step, companions=(emptied, *step.companions)))
            return live is not None or grave is not None

        return await self._again(once)

    async def _found(self, key: Key, changes: Changes | None) -> M:
        if changes is not None:
            return await self.patch(key, changes)
        record = await self._read(key)
        if record is None:
            raise not_found(self.entity.kind, key)
        return from_record(self.entity, record)

    async def _put_over(self, instance: M, claim: Claim) -> M:
        """Store over a record whose unique values must be known first; the first guess is that there is none."""
        key, when, _ = claim
        step = self.planner.put(instance, when)

        async def once(attempt: int) -> M:
            record = None if when == ANY and attempt == 0 else await self._read(key)
            self._demand(key, record, when)
            return await carried_out(self.store, self.planner.over(step, record))

        return await once(1) if isinstance(when, Matches) else await self._again(once)

    async def _delete_once(self, key: Key, when: Condition) -> bool:
        record = await self._read(key)
        self._demand(key, record, when)
        return record is not None and await carried_out(self.store, self.planner.removal(record))

    async def _rewrite_once(self, key: Key, decide: Callable[[M], Changes | None]) -> M:
        record = await self._read(key)
        if record is None:
            raise not_found(self.entity.kind, key)
        changes = decide(current := from_record(self.entity, record))
        if changes is None:
            return current
        return await carried_out(self.store, self.planner.rewrite(record, changes))

    async def _again(self, once: Callable[[int], Awaitable[T]]) -> T:
        """Try until nobody was faster, at most 16 times."""
        for attempt in range(ATTEMPTS):
            try:
                return await once(attempt)
            except (VersionConflict, AlreadyExists) as exc:
                if attempt == ATTEMPTS - 1 or exc.retry is not Retry.SAME:
                    raise
            await pause(self.env, attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _read(self, key: Key) -> Record | None:
        [record] = await self.store.get([key], consistent=True)
        return record

    async def _bare(self, key: Key) -> Record | None:
        """What lies under a key, without its body, which may be lost."""
        plan = QueryPlan(pk=key.pk, low=key.sk, limit=1, consistent=True, bodies=False)
        while True:
            page = await self.store.query(plan)
            if page.records or page.next is None:
                return next((record for record in page.records if record.key == key), None)
            plan = replace(plan, after=page.next)

    def _demand(self, key: Key, record: Record | None, when: Condition) -> None:
        error = refusal(key, None if record is None else record.version, when)
        if error is not None:
            raise error

    def _raise_failures(self, outcomes: Sequence[object]) -> None:
        failed = [outcome for outcome in outcomes if isinstance(outcome, StorycoreError)]
        if failed:
            raise PartialFailure(
                f"{len(failed)} of {len(outcomes)} writes of {self.entity.kind!r} failed, the others are done. "
                f"{failed[0].message}",
                outcomes=outcomes,
            )
