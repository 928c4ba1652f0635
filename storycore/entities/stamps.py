"""The version that an instance was loaded or saved under, remembered without touching the model.

The stamp rides on the instance's set of set fields, which pydantic carries through ``model_copy``, ``copy``,
``deepcopy``, pickling and assignment, and which takes no part in ``==``, ``repr``, iteration and dumps. An entry in
``__dict__`` would not do: ``validate_assignment`` with ``extra="allow"`` turns it into an extra field, and
``revalidate_instances`` with ``extra="forbid"`` refuses it.
"""

from __future__ import annotations

from pydantic import BaseModel

from storycore.entities.uniqueness import NOTHING, Held
from storycore.ports.conditions import Version
from storycore.ports.entities import Key

__all__ = ["held_of", "stamp", "stamp_of"]


class _Stamped(set[str]):
    """A set of field names that also knows a record's key and version, and the unique values that it holds."""

    __slots__ = ("held", "key", "version")

    key: Key
    version: Version
    held: Held


def stamp(instance: BaseModel, key: Key, version: Version, held: Held = NOTHING) -> None:
    """Let ``instance`` remember that it is what ``version`` of ``key`` holds."""
    carrier = _Stamped(instance.model_fields_set)
    carrier.key, carrier.version, carrier.held = key, version, held
    object.__setattr__(instance, "__pydantic_fields_set__", carrier)


def stamp_of(instance: BaseModel, key: Key) -> Version | None:
    """The remembered version, if it is one of ``key``; a copy that was given another id has none."""
    carrier = instance.model_fields_set
    return carrier.version if isinstance(carrier, _Stamped) and carrier.key == key else None


def held_of(instance: BaseModel, key: Key) -> Held:
    """The unique values of the version that ``stamp_of`` tells; nothing where it tells none."""
    carrier = instance.model_fields_set
    return carrier.held if isinstance(carrier, _Stamped) and carrier.key == key else NOTHING
