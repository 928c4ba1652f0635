"""Explaining reads and writes by key: what they will do and cost, in the very steps in which they would be done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.addresses import KeyLike, address_of
from storycore.entities.codec import to_put
from storycore.entities.costs import read_units, write_units
from storycore.entities.declaration import Entity
from storycore.entities.explanations import Explanation, check_assumptions
from storycore.entities.patching import Changes
from storycore.entities.planning import Planner
from storycore.entities.steps import Step
from storycore.entities.uniqueness import held_by
from storycore.layers.spilled_bodies import POINTER_FIELD
from storycore.ports.conditions import ABSENT, Matches, Version
from storycore.ports.entities import Put, Record, Write
from storycore.ports.environment import Clock
from storycore.ports.item_size import item_size
from storycore.ports.records import put_record

__all__ = ["Explaining"]

M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", Put, Record)

_POINTER_BYTES = 200
"""About how long the pointer to a spilled body is."""


class Explaining(Generic[M]):
    """Tells what operations do and cost: ``stories.explain.put(story)``. Nothing is read or written.

    Args:
        entity: the declaration.
        clock: tells the time for timestamps.
    """

    __slots__ = ("_entity", "_planner")

    def __init__(self, entity: Entity[M], clock: Clock) -> None:
        self._entity = entity
        self._planner = Planner(entity, clock)

    def get(
        self, key: KeyLike | None = None, /, *, consistent: bool = False, item_bytes: int = 1024, **parts: object
    ) -> Explanation:
        """A read by key, given as to ``repository.get``.

        Args:
            consistent: as in ``get``.
            item_bytes: how large the record is.

        Raises:
            InvalidArgument, InvalidKey: the key is no key, or ``item_bytes`` is out of range.
        """
        check_assumptions(item_bytes, 1.0)
        return Explanation(
            operation="get",
            kind=self._entity.kind,
            keys=(address_of(self._entity, key, parts),),
            consistent=consistent,
            requests=1,
            records=1,
            read_units=read_units(item_bytes, consistent=consistent),
            assumed={"item_bytes": item_bytes},
            notes=() if consistent else ("A cache in front of the store, which is asked first, costs no units.",),
        )

    def put(self, instance: M, *, before: M | None = None) -> Explanation:
        """Storing an instance whole.

        Args:
            instance: the new state.
            before: the stored state; ``None``: there is none.

        Raises:
            InvalidArgument, InvalidKey: it cannot be stored.
        """
        if before is None:
            return self._written("put", self._planner.put(instance, ABSENT), None)
        old = self._stored(before)
        return self._written("put", self._planner.put(instance, Matches(old.version), held_by(old)), old)

    def patch(
        self,
        before: M,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002 - the verb of the port
        add: Mapping[str, int | float | Decimal] | None = None,
        unset: Sequence[str] = (),
        include: Mapping[str, Collection[str]] | None = None,
        exclude: Mapping[str, Collection[str]] | None = None,
    ) -> Explanation:
        """Changing an instance, given in the state that is stored, as ``repository.patch`` would.

        Raises:
            InvalidArgument, InvalidKey: a field is unknown, or the result cannot be stored.
        """
        changes = Changes(set or {}, add or {}, unset, None, include or {}, exclude or {})
        changes.check(self._entity)
        old = self._stored(before)
        step = self._planner.rewrite(old, changes)
        if not changes.is_one_step(self._entity):
            return self._written("patch", step, old, reads=True)
        return self._written("patch", step, old, notes=["The store changes the record itself, in one step."])

    def delete(self, instance: M) -> Explanation:
        """Removing an instance, given in the state that is stored; softly, where that is declared.

        Raises:
            InvalidArgument, InvalidKey: it could not have been stored.
        """
        old = self._stored(instance)
        return self._written("delete", self._planner.removal(old), old, reads=self._entity.soft_delete is not None)

    def _stored(self, instance: M) -> Record:
        return put_record(to_put(self._entity, instance), Version(1))

    def _kept(self, state: S) -> S:
        """A record or the write of one as the store is to keep it: with a pointer, where the body is spilled."""
        if self._entity.spill is None or len(state.body) <= self._entity.spill:
            return state
        return replace(state, body=b"", fields={**state.fields, POINTER_FIELD: "x" * _POINTER_BYTES})

    def _written(
        self,
        operation: str,
        step: Step[Any],  # whatever its result would be
        old: Record | None,
        *,
        reads: bool = False,
        notes: Sequence[str] = (),
    ) -> Explanation:
        before = None if old is None else self._kept(old)
        return Explanation(
            operation=operation,
            kind=self._entity.kind,
            keys=[write.key for write in step.writes],
            consistent=True,
            requests=1 + reads,
            records=int(reads),
            read_units=read_units(item_size(before)) if reads and before is not None else 0.0,
            write_units=self._units(step, before),
            notes=[*notes, *_index_notes(self._entity, old, step.write), *self._notes(step, reads)],
        )

    def _units(self, step: Step[Any], before: Record | None) -> int:  # whatever its result would be
        states = [self._kept(write) if isinstance(write, Put) else None for write in step.writes]
        together = len(states) > 1
        own = write_units(before, states[0], transactional=together)
        return own + sum(write_units(None, state, transactional=together) for state in states[1:])

    def _notes(self, step: Step[Any], reads: bool) -> list[str]:  # whatever its result would be
        notes = []
        if any(isinstance(write, Put) and self._kept(write) is not write for write in step.writes):
            notes.append("The body goes to the blob store, and the record keeps a pointer to it.")
        if step.companions:
            notes.append(f"{len(step.writes)} writes are one atomic write, in which the table counts twice.")
        if reads:
            notes.append("The record is read first, and read again whenever somebody else is faster.")
        return notes


def _index_notes(entity: Entity[Any], old: Record | None, write: Write) -> list[str]:
    if old is None or not isinstance(write, Put):
        return []
    names = {pattern.slot: pattern.name for pattern in entity.indexes.values()}
    both = sorted(old.index_keys.keys() & write.index_keys.keys())
    moved = [names[slot] for slot in both if old.index_keys[slot] != write.index_keys[slot]]
    return [f"The key in the index {name!r} changes, which counts there twice." for name in moved]
