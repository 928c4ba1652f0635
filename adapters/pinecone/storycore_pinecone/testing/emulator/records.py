"""Records as they are stored, and what is refused before they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from .limits import MAX_ID_CHARS, MAX_METADATA_BYTES, MAX_NAMESPACE_CHARS, SMALLEST_VALUE
from .refusals import Refusal

__all__ = [
    "DEFAULT_NAMESPACE",
    "Floats",
    "Record",
    "checked_id",
    "checked_metadata",
    "checked_prefix",
    "checked_values",
    "namespace_of",
]

Floats = np.ndarray[Any, np.dtype[np.float32]]
DEFAULT_NAMESPACE: Final = "__default__"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; nobody changes it.

    Attributes:
        values: float32, shape ``(dimension,)``, as the page "Fetch vectors" says that they are stored.
        metadata: numbers are floats.
    """

    id: str
    values: Floats
    metadata: Mapping[str, object]

    def body(self, *, values: bool = True, metadata: bool = True) -> dict[str, object]:
        """As it goes over the wire. A record without metadata has no such key."""
        found: dict[str, object] = {"id": self.id}
        if values:
            found["values"] = self.values.tolist()
        if metadata and self.metadata:
            found["metadata"] = self.metadata
        return found


def namespace_of(found: object) -> str:
    """The name of a namespace; the empty name and none at all are the default one.

    Raises:
        Refusal: no namespace is called so.
    """
    if found is None or found == "":
        return DEFAULT_NAMESPACE
    if not isinstance(found, str) or not _is_name(found, MAX_NAMESPACE_CHARS):
        raise Refusal(400, f"Namespace must be at most {MAX_NAMESPACE_CHARS} ASCII characters without NUL")
    return found


def checked_id(found: object) -> str:
    """The id of a record.

    Raises:
        Refusal: no record is called so.
    """
    if not isinstance(found, str) or not found:
        raise Refusal(400, "Vector ID must not be empty")
    if not found.isascii():
        raise Refusal(400, f"Vector ID must be ASCII, but got '{found[:80]}'")
    if not _is_name(found, MAX_ID_CHARS):
        raise Refusal(400, f"Vector ID must be at most {MAX_ID_CHARS} characters without NUL, but got {len(found)}")
    return found


def checked_prefix(found: str | None) -> str:
    """How names begin that are asked for.

    Raises:
        Refusal: none begins so.
    """
    if found and not _is_name(found, MAX_ID_CHARS):
        raise Refusal(400, f"prefix must be at most {MAX_ID_CHARS} ASCII characters without NUL")
    return found or ""


def checked_values(found: object, dimension: int, named: str) -> Floats:
    """A dense vector, as 32-bit floats.

    Args:
        found: as it came over the wire.
        dimension: of the index.
        named: how an error calls it.

    Raises:
        Refusal: its length is another one, or it is no vector, or all zero.
    """
    numbers = found if isinstance(found, list) else []
    if not {int, float}.issuperset(map(type, numbers)):
        raise Refusal(400, f"Invalid value in the values of {named}: expected numbers")
    if len(numbers) != dimension:
        raise Refusal(400, f"Vector dimension {len(numbers)} does not match the dimension of the index {dimension}")
    with np.errstate(over="ignore"):
        values = np.asarray(numbers, dtype=np.float64).astype(np.float32)
    if not np.isfinite(values).all():
        raise Refusal(400, f"Invalid value in the values of {named}: does not fit 32-bit floats")
    if not (np.abs(values) >= SMALLEST_VALUE).any():
        raise Refusal(400, f"Dense vectors must contain at least one non-zero value. {named} contains only zeros")
    return values


def checked_metadata(found: object) -> dict[str, object]:
    """Metadata with its numbers as floats.

    Raises:
        Refusal: it holds what the service does not store, or too much.
    """
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(400, "Metadata must be an object")
    stored = {name: _stored(name, value) for name, value in found.items()}
    size = len(orjson.dumps({name: _shortest(value) for name, value in stored.items()}))
    if size > MAX_METADATA_BYTES:
        raise Refusal(
            400, f"metadata size is {size} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes per vector"
        )
    return stored


def _stored(name: str, value: object) -> object:
    if name.startswith("$"):
        raise Refusal(400, f"Metadata key must not start with '$', got '{name}'")
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    shown = orjson.dumps(value).decode()[:80]
    raise Refusal(
        400, f"Metadata value must be a string, number, boolean or list of strings, got '{shown}' for field '{name}'"
    )


def _shortest(value: object) -> object:
    """A whole number without its point: the size is that of what is usually sent."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _is_name(found: str, longest: int) -> bool:
    return 0 < len(found) <= longest and found.isascii() and "\0" not in found
