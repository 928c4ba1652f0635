"""Plans: what a change of an instance asks of the store, worked out without asking it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from storycore.entities.codec import from_record, key_of, to_put
from storycore.entities.declaration import Entity
from storycore.entities.filtering import matches
from storycore.entities.patching import Changes
from storycore.entities.soft_deletion import buried, deleted_twin, guard
from storycore.entities.stamps import held_of, stamp, stamp_of
from storycore.entities.steps import Companion, Step
from storycore.entities.timestamps import Touched, touch
from storycore.entities.uniqueness import NOTHING, Held, held_by, markers
from storycore.errors import ConditionFailed, InvalidArgument, NotFound
from storycore.layers.checks.writes import check_condition
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches
from storycore.ports.entities import Delete, Key, Put, Record, Written
from storycore.ports.environment import Clock

__all__ = ["Claim", "Planner", "not_found"]

M = TypeVar("M", bound=BaseModel)


class Claim(NamedTuple):
    """What a put or delete of an instance relies on.

    Args:
        key: of the instance.
        when: the condition.
        held: by the record that the condition allows; ``None``: it must be read first.
    """

    key: Key
    when: Condition
    held: Held | None


@dataclass(frozen=True, slots=True)
class Planner(Generic[M]):
    """Makes the steps of one entity.

    Args:
        entity: the declaration.
        clock: tells the time for timestamps.
    """

    entity: Entity[M]
    clock: Clock

    def claim(self, instance: M, when: Condition | None = None) -> Claim:
        """Under which condition an instance is put, by default the version that it was loaded or saved under.

        Raises:
            InvalidArgument: ``instance`` is of another model, or ``when`` is no condition.
        """
        if when is not None:
            check_condition(when)
        key = key_of(self.entity, instance)
        version = stamp_of(instance, key)
        own = ANY if version is None else Matches(version)
        when = own if when is None else when
        if when == own and version is not None:
            return Claim(key, when, held_of(instance, key))
        return Claim(key, when, None if self.entity.unique and when != ABSENT else NOTHING)

    def put(self, instance: M, when: Condition, held: Held = NOTHING) -> Step[M]:
        """Store an instance whole, and stamp it.

        Args:
            when: of an entity with unique values either ``ABSENT`` or the version that holds ``held``; any other
                condition is to be made one of these by ``over``.
            held: by the record that is replaced.

        Raises:
            InvalidArgument, InvalidKey: it cannot be stored.
        """
        deletion = self.entity.soft_delete
        if deletion is not None and getattr(instance, deletion.field, None) is not None:
            raise InvalidArgument(f"{deletion.field!r} tells that a {self.entity.kind} is deleted; use delete().")
        touched = touch(self.entity, instance, self.clock.now(), is_stored=isinstance(when, Matches))
        put = to_put(self.entity, touched.candidate, when=when)
        return self._storing(touched, put, held, self._guards(put))

    def over(self, step: Step[M], record: Record | None) -> Step[M]:
        """A step that ``put`` made, over exactly what was read."""
        assert isinstance(step.write, Put)
        when = ABSENT if record is None else Matches(record.version)
        put = replace(step.write, when=when)
        held = NOTHING if record is None else held_by(record)
        return replace(step, write=put, companions=(*self._guards(put), *self._markers(held, put)))

    def one_step(self, key: Key, changes: Changes, when: Condition = PRESENT) -> Step[M]:
        """Let the store itself count and change members; ``changes.is_one_step`` must hold."""
        return Step(changes.as_patch(self.entity, key, self.clock.now(), when), self._read_back)

    def rewrite(self, record: Record, changes: Changes) -> Step[M]:
        """Change what the record holds, under its version.

        Raises:
            ConditionFailed: it does not match the condition.
            InvalidArgument: the result is not valid.
        """
        current = from_record(self.entity, record)
        if changes.when is not None and not matches(changes.when, current):
            raise ConditionFailed(f"The {self.entity.kind} does not match the patch's condition; nothing was changed.")
        changed = changes.applied(self.entity, current)
        return self._replacing(changed, record, keep=changes.set)

    def delete(self, key: Key, when: Condition, held: Held = NOTHING) -> Step[bool]:
        """Remove for good what is under ``key``; tells whether there was anything."""
        return Step(Delete(key=key, when=when), _was_there, self._markers(held, None))

    def removal(self, record: Record) -> Step[bool]:
        """Delete what the record holds, under its version: softly, where that is declared."""
        step = self.delete(record.key, Matches(record.version), held_by(record))
        if self.entity.soft_delete is None:
            return step
        now = self.clock.now()
        gone = from_record(self.entity, record).model_copy(update={self.entity.soft_delete.field: now})
        grave = buried(self.entity, to_put(self.entity, gone), now)
        return replace(step, companions=(Companion(grave), *step.companions))

    def restoration(self, grave: Record) -> Step[M]:
        """Bring back what a grave holds; the key must be free."""
        assert self.entity.soft_delete is not None
        gone = from_record(deleted_twin(self.entity), grave)
        back = gone.model_copy(update={self.entity.soft_delete.field: None})
        touched = touch(self.entity, back, self.clock.now(), is_stored=True)
        put = to_put(self.entity, touched.candidate, when=ABSENT)
        emptied = Companion(Delete(key=grave.key, when=Matches(grave.version)))
        return self._storing(touched, put, NOTHING, (emptied,))

    def _replacing(self, instance: M, record: Record, keep: Collection[str]) -> Step[M]:
        touched = touch(self.entity, instance, self.clock.now(), is_stored=True, keep=keep)
        put = to_put(self.entity, touched.candidate, when=Matches(record.version))
        return self._storing(touched, put, held_by(record), ())

    def _storing(self, touched: Touched[M], put: Put, held: Held, more: tuple[Companion, ...]) -> Step[M]:
        def settle(written: Written) -> M:
            assert written.version is not None
            touched.apply()
            stamp(touched.instance, written.key, written.version, held_by(put))
            return touched.instance

        return Step(put, settle, (*more, *self._markers(held, put)))

    def _guards(self, put: Put) -> tuple[Companion, ...]:
        """A put that may create must not meet a deleted instance."""
        if self.entity.soft_delete is None or put.when not in (ANY, ABSENT):
            return ()
        return (guard(self.entity.kind, put.key),)

    def _markers(self, held: Held, put: Put | None) -> tuple[Companion, ...]:
        return markers(self.entity.kind, held, put, self.entity.unique)

    def _read_back(self, written: Written) -> M:
        assert written.record is not None
        return from_record(self.entity, written.record)


def not_found(kind: str, key: Key) -> NotFound:
    """The error for a key under which there is nothing."""
    return NotFound(f"There is no {kind} under ({key.pk!r}, {key.sk!r}), or it has expired.")


def _was_there(written: Written) -> bool:
    return written.version is not None
