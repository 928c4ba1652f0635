"""When an instance was created and last changed: filled in on the way to the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.declaration import Entity

__all__ = ["Touched", "touch"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Touched(Generic[M]):
    """An instance that is about to be written.

    Args:
        instance: the caller's, unchanged until the write has succeeded.
        candidate: what is written.
        times: the timestamps in which the two differ.
    """

    instance: M
    candidate: M
    times: Mapping[str, datetime] = field(default_factory=dict)

    def apply(self) -> None:
        """Let the caller's instance have the timestamps that were written."""
        vars(self.instance).update(self.times)
        self.instance.model_fields_set.update(self.times)


def touch(entity: Entity[M], instance: M, now: datetime, *, is_stored: bool, keep: Collection[str] = ()) -> Touched[M]:
    """The instance with its timestamps set.

    Whatever is stored already gets a new time of change. A new instance gets both times, except where its maker gave
    one explicitly, as an import does.

    Args:
        is_stored: whether it replaces a version that is known.
        keep: fields that the caller has just set.
    """
    if entity.timestamps is None:
        return Touched(instance, instance)
    created, changed = entity.timestamps
    explicit = instance.model_fields_set
    times: dict[str, datetime] = {}
    if not is_stored and created not in explicit:
        times[created] = now
    if (is_stored or changed not in explicit) and changed not in keep:
        times[changed] = now
    return Touched(instance, instance.model_copy(update=times), times)
