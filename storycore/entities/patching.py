"""Partial changes: which of them one atomic step can do, and what the others make of an instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from storycore.entities.annotations import plain_types
from storycore.entities.codec import problems
from storycore.entities.declaration import Entity
from storycore.entities.filtering import check_filter
from storycore.errors import InvalidArgument
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
        when: only if the stored instance matches.
    """

    set: Mapping[str, object] = field(default_factory=dict)
    add: Mapping[str, int | float | Decimal] = field(default_factory=dict)
    unset: Sequence[str] = ()
    when: Filter | None = None

    def check(self, entity: Entity[M]) -> None:
        """Refuse what contradicts the model or itself.

        Raises:
            InvalidArgument: nothing is changed, a field is unknown, named twice, or part of the primary key.
            InvalidFilter: ``when`` names an unknown field.
        """
        named = [*self.set, *self.add, *self.unset]
        if not named:
            raise InvalidArgument(f"The patch of a {entity.kind} changes nothing; give set, add or unset.")
        for name in named:
            self._check_name(entity, name)
        if len(set(named)) < len(named):
            raise InvalidArgument("A field stands in one of set, add and unset only; split the patch in two.")
        if self.when is not None:
            check_filter(self.when, entity.model)

    def only_count(self, entity: Entity[M]) -> bool:
        """Whether the store can add by itself: nothing else depends on these counters."""
        return (
            not self.set
            and not self.unset
            and self.when is None
            and set(self.add) <= entity.counters - entity.indexed
            and all(pattern.when is None for pattern in entity.indexes.values())
            and all(_is_unchecked(entity.model, name, amount) for name, amount in self.add.items())
        )

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
        try:
            return entity.model.model_validate(values, by_alias=False, by_name=True)
        except ValidationError as exc:
            raise InvalidArgument(f"The patch would make the {entity.kind} invalid: {problems(exc)}.") from exc

    def _check_name(self, entity: Entity[M], name: str) -> None:
        if name in entity.table.fields:
            raise InvalidArgument(f"{name!r} is part of the key of a {entity.kind}; create another instead.")
        is_known = name in entity.model.model_fields
        if not is_known and (name in self.add or entity.model.model_config.get("extra") != "allow"):
            raise InvalidArgument(
                f"A {entity.kind} has no field {name!r}. {did_you_mean(name, entity.model.model_fields)}"
            )


def _sum(name: str, value: object, amount: float | Decimal) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidArgument(f"The field {name!r} holds no number to add to; use set.")
    if isinstance(amount, bool) or not isinstance(amount, int | float | Decimal):
        raise InvalidArgument(f"What is added to {name!r} must be a number, not {type(amount).__name__}.")
    if isinstance(value, float) or isinstance(amount, float):
        return float(value) + float(amount)
    return value + amount


def _is_unchecked(model: type[BaseModel], name: str, amount: object) -> bool:
    """Whether adding ``amount`` cannot make the field, and so the instance, invalid."""
    decorators = model.__pydantic_decorators__
    if decorators.model_validators:
        return False
    if any(name in found.info.fields or "*" in found.info.fields for found in decorators.field_validators.values()):
        return False
    info = model.model_fields[name]
    kinds = (int, Decimal) if plain_types(info.annotation) == {Decimal} else int
    if isinstance(amount, bool) or not isinstance(amount, kinds):
        return False
    return all(isinstance(bound, _LOWER_BOUNDS) and amount >= 0 for bound in info.metadata)
