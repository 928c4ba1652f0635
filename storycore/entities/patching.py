"""Partial changes: which of them one atomic step can do, and what the others make of an instance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from storycore.entities.annotations import admits_none, plain_types
from storycore.entities.codec import problems
from storycore.entities.declaration import Entity
from storycore.entities.filtering import check_filter
from storycore.errors import InvalidArgument
from storycore.ports.conditions import Condition
from storycore.ports.entities import FieldValue, Key, Patch
from storycore.ports.filters import Filter
from storycore.suggestions import did_you_mean

__all__ = ["Changes"]

M = TypeVar("M", bound=BaseModel)

_LOWER_BOUNDS = tuple(type(marker) for bounded in (Field(ge=0), Field(gt=0)) for marker in bounded.metadata)
"""Pydantic's own markers for "not below"."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a patch does.

    Args:
        set: field to its new value.
        add: numeric field to what is added to it.
        unset: fields that go back to their default.
        include: field that is a set to the members it gains.
        exclude: field that is a set to the members it loses.
        when: only if the stored instance matches.

    Raises:
        InvalidArgument: a part is no mapping of field names, or ``unset`` no collection of them.
    """

    set: Mapping[str, object] = field(default_factory=dict)
    add: Mapping[str, int | float | Decimal] = field(default_factory=dict)
    unset: Sequence[str] = ()
    when: Filter | None = None
    include: Mapping[str, Collection[str]] = field(default_factory=dict)
    exclude: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = {"set": self.set, "add": self.add, "include": self.include, "exclude": self.exclude}
        for title, given in parts.items():
            if not isinstance(given, Mapping):
                raise InvalidArgument(f"{title!r} maps field names to values; it is a {type(given).__name__}.")
        if isinstance(self.unset, str) or not isinstance(self.unset, Collection):
            raise InvalidArgument(f"'unset' is a list of field names, not a {type(self.unset).__name__}.")
        for name in self.fields:
            if not isinstance(name, str):
                raise InvalidArgument(f"A field is named by text, not by {name!r:.100}.")

    def check(self, entity: Entity[M]) -> None:
        """Refuse what contradicts the model or itself.

        Raises:
            InvalidArgument: nothing is changed, a field is unknown, named twice, part of the primary key, or tells of
                a soft deletion; members are no collection of text.
            InvalidFilter: ``when`` names an unknown field.
        """
        named = self.fields
        if not named:
            raise InvalidArgument(
                f"The patch of a {entity.kind} changes nothing; give set, add, unset, include or exclude."
            )
        for name in named:
            self._check_name(entity, name)
        for name, members in (*self.include.items(), *self.exclude.items()):
            _check_members(name, members)
        if len(set(named)) < len(named):
            raise InvalidArgument("A field stands in one part of a patch only; split the patch in two.")
        if self.when is not None:
            check_filter(self.when, entity.model)

    @property
    def fields(self) -> list[str]:
        """All fields that are named, as often as they are."""
        return [*self.set, *self.add, *self.unset, *self.include, *self.exclude]

    def is_one_step(self, entity: Entity[M]) -> bool:
        """Whether the store can count and change members by itself: nothing else depends on these fields."""
        members = {*self.include, *self.exclude}
        return (
            not self.set
            and not self.unset
            and self.when is None
            and set(self.add) <= entity.counters - entity.indexed
            and members <= entity.promoted - entity.indexed
            and all(pattern.when is None for pattern in entity.indexes.values())
            and all(_is_unchecked_sum(entity.model, name, amount) for name, amount in self.add.items())
            and all(_is_unchecked_set(entity.model, name) for name in members)
            and (not members or _can_touch(entity))
        )

    def of_members(self) -> Changes | None:
        """The changes of members alone, which may be made twice; ``None`` when there are none."""
        return Changes(include=self.include, exclude=self.exclude) if self.include or self.exclude else None

    def joined(self, more: Changes) -> Changes:
        """Both changes as one; what is added to the same counter is added up.

        Raises:
            InvalidArgument: they touch the same field otherwise, or one of them has a condition.
        """
        touched = {*self.fields} & {*more.fields}
        if touched - ({*self.add} & {*more.add}) or self.when is not None or more.when is not None:
            raise InvalidArgument("Two patches of one key touch the same field, or have a condition; make them one.")
        amounts: dict[str, Any] = dict(self.add)  # numbers, as both have been checked
        for name, amount in more.add.items():
            amounts[name] = _sum(name, amounts[name], amount) if name in amounts else amount
        return Changes(
            {**self.set, **more.set},
            amounts,
            (*self.unset, *more.unset),
            None,
            {**self.include, **more.include},
            {**self.exclude, **more.exclude},
        )

    def as_patch(self, entity: Entity[M], key: Key, now: datetime, when: Condition) -> Patch:
        """The one step; a change of members is a change of the instance, counting is not.

        Args:
            now: the time of the change, where the declaration keeps it.
        """
        include = {name: frozenset(members) for name, members in self.include.items() if members}
        exclude = {name: frozenset(members) for name, members in self.exclude.items() if members}
        changed = {} if entity.timestamps is None or not (include or exclude) else _dumped(entity, now)
        amounts: dict[str, Any] = dict(self.add)  # int or Decimal, as is_one_step() has made sure
        return Patch(key=key, add=amounts, set=changed, include=include, exclude=exclude, when=when)

    def applied(self, entity: Entity[M], instance: M) -> M:
        """A changed copy of ``instance``, validated by the model.

        Raises:
            InvalidArgument: the result is not valid, or a field that is added to holds no number.
        """
        values: dict[str, Any] = {name: getattr(instance, name) for name in entity.model.model_fields}
        values.update(instance.model_extra or {})
        values.update(self.set)
        for name, amount in self.add.items():
            values[name] = _sum(name, values[name], amount)
        for name in self.unset:
            values.pop(name, None)
        for name, members in self.include.items():
            values[name] = _members(name, values[name]) | set(members)
        for name, members in self.exclude.items():
            values[name] = _members(name, values[name]) - set(members)
        try:
            return entity.model.model_validate(values, by_alias=False, by_name=True)
        except ValidationError as exc:
            raise InvalidArgument(f"The patch would make the {entity.kind} invalid: {problems(exc)}.") from exc

    def _check_name(self, entity: Entity[M], name: str) -> None:
        if name in entity.table.fields:
            raise InvalidArgument(f"{name!r} is part of the key of a {entity.kind}; create another instead.")
        if entity.soft_delete is not None and name == entity.soft_delete.field:
            raise InvalidArgument(f"{name!r} tells when a {entity.kind} was deleted; use delete() and restore().")
        is_known = name in entity.model.model_fields
        is_stepped = name in self.add or name in self.include or name in self.exclude
        if not is_known and (is_stepped or entity.model.model_config.get("extra") != "allow"):
            raise InvalidArgument(
                f"A {entity.kind} has no field {name!r}. {did_you_mean(name, entity.model.model_fields)}"
            )


def _sum(name: str, value: object, amount: float | Decimal) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidArgument(f"The field {name!r} holds no number to add to; use set.")
    if isinstance(amount, bool) or not isinstance(amount, int | float | Decimal):
        raise InvalidArgument(f"What is added to {name!r} must be a number, not {type(amount).__name__}.")
    try:
        return float(value) + float(amount) if isinstance(value, float) or isinstance(amount, float) else value + amount
    except (ValueError, ArithmeticError) as exc:
        raise InvalidArgument(
            f"What is added to {name!r} has no sum with what is there; use a smaller number."
        ) from exc


def _members(name: str, value: object) -> set[object]:
    if value is None:
        return set()
    if not isinstance(value, set | frozenset):
        raise InvalidArgument(f"The field {name!r} holds no set to include in or exclude from; use set.")
    return set(value)


def _check_members(name: str, members: object) -> None:
    if isinstance(members, str) or not isinstance(members, Collection):
        raise InvalidArgument(f"The members of {name!r} are a set of text, not {type(members).__name__}.")
    for member in members:
        if not isinstance(member, str):
            raise InvalidArgument(f"The members of {name!r} are text, not {type(member).__name__}.")


def _has_no_validator(model: type[BaseModel], name: str) -> bool:
    decorators = model.__pydantic_decorators__
    return not decorators.model_validators and not any(
        name in found.info.fields or "*" in found.info.fields for found in decorators.field_validators.values()
    )


def _is_unchecked_set(model: type[BaseModel], name: str) -> bool:
    """Whether any text may join the field or leave it."""
    info = model.model_fields[name]
    is_plain = plain_types(info.annotation) <= {set[str], frozenset[str]} and not admits_none(info.annotation)
    return is_plain and not info.metadata and _has_no_validator(model, name)


def _can_touch(entity: Entity[M]) -> bool:
    """Whether the store can set the time of the last change by itself."""
    if entity.timestamps is None:
        return True
    _, changed = entity.timestamps
    serializers = entity.model.__pydantic_decorators__.model_serializers
    is_own = changed in entity.promoted and changed not in entity.indexed and changed != entity.ttl
    return is_own and not serializers and _has_no_validator(entity.model, changed)


def _dumped(entity: Entity[M], now: datetime) -> dict[str, FieldValue]:
    """The time of the last change as a whole instance would store it."""
    assert entity.timestamps is not None
    _, changed = entity.timestamps
    bare = entity.model.model_construct(None, **{changed: now})
    dumped = bare.model_dump(mode="json", include={changed}, round_trip=True, by_alias=False, warnings="none")
    return {changed: dumped[changed]}


def _is_unchecked_sum(model: type[BaseModel], name: str, amount: object) -> bool:
    """Whether adding ``amount`` cannot make the field, and so the instance, invalid."""
    info = model.model_fields[name]
    if info.annotation not in (int, Decimal) or not _has_no_validator(model, name):
        return False
    kinds = (int, Decimal) if info.annotation is Decimal else int
    if isinstance(amount, bool) or not isinstance(amount, kinds):
        return False
    return all(isinstance(bound, _LOWER_BOUNDS) and amount >= 0 for bound in info.metadata)
