"""The types of metadata fields: one per field and namespace, fixed by the first write that has the field.

With one type per field a service that has no "not" can answer one exactly, and no filter means different things for
different items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from storycore.errors import SchemaConflict
from storycore.ports.filters import MetadataValue

__all__ = ["FieldType", "fixed_types", "type_of"]

FieldType: TypeAlias = Literal["number", "string", "bool"]
"""A text and a list of texts are one type."""


def type_of(value: MetadataValue) -> FieldType:
    """The type of a metadata value that the checks above the port let through."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "string"


def fixed_types(
    known: Mapping[str, FieldType], written: Iterable[Mapping[str, MetadataValue]], *, namespace: str
) -> dict[str, FieldType]:
    """The types that a write adds to those that are ``known`` in its namespace.

    Args:
        known: what was declared, or fixed by earlier writes.
        written: the metadata of the items that will be stored, after the last of equal ids has won.
        namespace: for the error.

    Raises:
        SchemaConflict: a field is written with another type than it has, or with two.
    """
    added: dict[str, FieldType] = {}
    for metadata in written:
        for name, value in metadata.items():
            found = type_of(value)
            held = known.get(name) or added.setdefault(name, found)
            if held != found:
                raise SchemaConflict(
                    f"The metadata field {name!r} holds {_PLURAL[held]} in namespace {namespace!r}, and "
                    f"{_PLURAL[found]} are written to it; write it as {_PLURAL[held]}, or use another field.",
                    field=name,
                )
    return added


_PLURAL: Mapping[FieldType, str] = {"number": "numbers", "string": "texts", "bool": "bools"}
