"""Intents: what a unit of work is going to do with one key, before it is known what lies there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from storycore.entities.patching import Changes
from storycore.entities.planning import Claim, Planner, not_found
from storycore.entities.steps import Step
from storycore.entities.uniqueness import NOTHING
from storycore.errors import InvalidArgument
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches
from storycore.ports.entities import Key, Record
from storycore.ports.records import refusal

__all__ = ["DeleteIntent", "Intent", "PatchIntent", "Pending", "PutIntent"]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_UNSETTLED = object()


@dataclass(slots=True)
class Pending(Generic[T]):
    """A result that is there once the unit has been written."""

    _result: Any = _UNSETTLED  # T, or the sign that it is not there yet

    @property
    def result(self) -> T:
        """The result.

        Raises:
            InvalidArgument: the unit has not been written.
        """
        if self._result is _UNSETTLED:
            raise InvalidArgument("The unit has not been written, so there is no result; ask behind its block.")
        found: T = self._result
        return found

    def settle(self, result: T) -> None:
        """Let the result be there."""
        self._result = result


class Intent(Protocol):
    """What a unit does with one key."""

    @property
    def key(self) -> Key:
        """Of what is written."""
        ...

    @property
    def verb(self) -> str:
        """What is done, for messages."""
        ...

    @property
    def pending(self) -> Pending[Any]:
        """Where the result will be, of whatever type."""
        ...

    @property
    def needs_record(self) -> bool:
        """Whether the step can be planned only when the record is known."""
        ...

    @property
    def least(self) -> int:
        """How many writes it takes at least, as far as is known."""
        ...

    def step(self, record: Record | None, *, is_known: bool) -> Step[Any] | None:
        """What is to be written; ``None``: nothing, for nothing is there.

        Args:
            record: what lies under the key.
            is_known: whether that was read at all.

        Raises:
            NotFound, ConditionFailed: what was read forbids it.
        """
        ...


@dataclass(slots=True)
class PutIntent(Generic[M]):
    """An instance is stored whole, as it was when the unit heard of it."""

    planner: Planner[M]
    instance: M
    claim: Claim
    verb: str = "put"
    pending: Pending[M] = field(default_factory=Pending)
    _step: Step[M] = field(init=False)

    def __post_init__(self) -> None:
        self._step = self.planner.put(self.instance, self.claim.when, self.claim.held or NOTHING)

    @property
    def key(self) -> Key:
        """Of the instance."""
        return self.claim.key

    @property
    def needs_record(self) -> bool:
        """Whether unique values may have to be given back."""
        return self.claim.held is None

    @property
    def least(self) -> int:
        """The record, and the markers as far as they are known."""
        return len(self._step.writes)

    def step(self, record: Record | None, *, is_known: bool) -> Step[M]:
        """The put, over what was read if it was read."""
        has_condition = self.claim.when == ABSENT or isinstance(self.claim.when, Matches)
        if not is_known or (has_condition and self.claim.held is not None):
            return self._step
        _demand(self.key, record, self.claim.when)
        return self.planner.over(self._step, record)


@dataclass(slots=True)
class PatchIntent(Generic[M]):
    """Some fields are changed."""

    planner: Planner[M]
    key: Key
    changes: Changes
    verb: str = "patch"
    pending: Pending[M] = field(default_factory=Pending)

    @property
    def needs_record(self) -> bool:
        """Whether more is done than counting."""
        return self.changes.of_members() is not None or not self.changes.is_one_step(self.planner.entity)

    @property
    def least(self) -> int:
        """The record."""
        return 1

    def step(self, record: Record | None, *, is_known: bool) -> Step[M]:
        """The change of what was read, or counting in one step of the store."""
        if is_known and record is None:
            raise not_found(self.planner.entity.kind, self.key)
        if record is None or not self.needs_record:
            when: Condition = PRESENT if record is None else Matches(record.version)
            return self.planner.one_step(self.key, self.changes, when)
        return self.planner.rewrite(record, self.changes)


@dataclass(slots=True)
class DeleteIntent(Generic[M]):
    """An instance is deleted."""

    planner: Planner[M]
    claim: Claim
    verb: str = "delete"
    pending: Pending[bool] = field(default_factory=Pending)

    @property
    def key(self) -> Key:
        """Of what is deleted."""
        return self.claim.key

    @property
    def needs_record(self) -> bool:
        """Whether it moves to a grave, or may have to give unique values back."""
        return self.planner.entity.soft_delete is not None or self.claim.held is None

    @property
    def least(self) -> int:
        """The record, its grave, and its markers as far as they are known."""
        held = self.claim.held or NOTHING
        return 1 + len(held.values) + (self.planner.entity.soft_delete is not None)

    def step(self, record: Record | None, *, is_known: bool) -> Step[bool] | None:
        """The removal of what was read; nothing where nothing is."""
        if not is_known:
            return self.planner.delete(self.key, self.claim.when, self.claim.held or NOTHING)
        _demand(self.key, record, self.claim.when)
        return None if record is None else self.planner.removal(record)


def _demand(key: Key, record: Record | None, when: Condition) -> None:
    error = None if when == ANY else refusal(key, None if record is None else record.version, when)
    if error is not None:
        raise error
