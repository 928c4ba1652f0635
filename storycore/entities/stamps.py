"""The version that an instance was loaded or saved under, remembered without touching the model.

The stamp rides on the instance's set of set fields, which pydantic carries through ``model_copy``, ``copy``,
``deepcopy``, pickling and assignment, and which takes no part in ``==``, ``repr``, iteration and dumps. An entry in
``__dict__`` would not do: ``validate_assignment`` with ``extra="allow"`` turns it into an extra field, and
``revalidate_instances`` with ``extra="forbid"`` refuses it.
"""

from __future__ import annotations

from pydantic import BaseModel

from storycore.ports.conditions import Version
from storycore.ports.entities import Key

__all__ = ["stamp", "stamp_of"]


class _Stamped(set[str]):
    """A set of field names that also knows a record's key and version."""

    __slots__ = ("key", "version")

    key: Key
    version: Version


def stamp(instance: BaseModel, key: Key, version: Version) -> None:
    """Let ``instance`` remember that it is what ``version`` of ``key`` holds."""
    carrier = _Stamped(instance.model_fields_set)
    carrier.key, carrier.version = key, version
    object.__setattr__(instance, "__pydantic_fields_set__", carrier)


def stamp_of(instance: BaseModel, key: Key) -> Version | None:
    """The remembered version, if it is one of ``key``; a copy that was given another id has none."""
    carrier = instance.model_fields_set
    return carrier.version if isinstance(carrier, _Stamped) and carrier.key == key else None
