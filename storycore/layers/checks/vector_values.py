"""What a vector index keeps, in the one form that adapters see: float32 vectors, ids, namespaces, metadata."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

from storycore.errors import InvalidArgument, InvalidKey
from storycore.ports.filters import MetadataValue
from storycore.ports.metadata_size import check_size
from storycore.ports.vectors import DEFAULT_NAMESPACE, Vector

__all__ = ["MAX_ID", "MAX_INTEGER", "SMALLEST_VALUE", "as_id", "as_metadata", "as_namespace", "as_vector"]

MAX_ID = 512
"""Characters of an id or a namespace (Pinecone: record ids)."""
MAX_INTEGER = 2**53
"""Up to here every whole number is exact as a float64, which is how remote indexes keep numbers."""
SMALLEST_VALUE = 1e-8
"""One value of a vector is at least as far from zero (Pinecone Data Plane API: what is nearer counts as zero)."""

_NUMBERS = frozenset("fdhHiIlLqQ")
"""Formats of buffers that hold numbers; single bytes are not among them, for they are more often text."""


def as_vector(values: object, dimension: int, *, of: str) -> Vector:
    """A fresh ``array('f')`` of ``values``.

    Args:
        values: any sequence of real numbers, or an object with a one-dimensional buffer of them.
        dimension: the length it must have.
        of: names the vector in errors, for example ``"item 'a'"``.

    Raises:
        InvalidArgument: it is no such sequence, has another length, has no value of 1e-8 or farther from zero, or
            holds a bool or a number that is not finite as a float32.
    """
    vector = _floats(values, of)
    if len(vector) != dimension:
        raise InvalidArgument(f"The vector of {of} has {len(vector)} dimensions; this index has {dimension}.")
    if not math.isfinite(sum(vector)):
        raise InvalidArgument(f"The vector of {of} holds NaN, infinity, or a number beyond float32.")
    if not any(value >= SMALLEST_VALUE or value <= -SMALLEST_VALUE for value in vector):
        raise InvalidArgument(
            f"The vector of {of} is all zero, or nearer to it than {SMALLEST_VALUE:g}, and has no direction; "
            "do not store empty embeddings."
        )
    return vector


def _floats(values: object, of: str) -> Vector:
    if isinstance(values, array) and values.typecode == "f":
        return values[:]
    try:
        return _from_sequence(values) if isinstance(values, Sequence) else _from_buffer(values)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidArgument(f"The vector of {of} is not a sequence of real numbers: {exc}.") from exc


def _from_sequence(values: Sequence[object]) -> Vector:
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        return _from_buffer(values)
    if any(isinstance(value, bool) for value in values):
        raise TypeError("it holds a bool")
    return array("f", values)  # type: ignore[arg-type]  # raises TypeError for what is no number


def _from_buffer(values: object) -> Vector:
    view = memoryview(values)  # type: ignore[arg-type]  # raises TypeError when there is no buffer
    if view.ndim != 1 or view.format not in _NUMBERS:
        raise TypeError(f"its buffer has {view.ndim} dimensions of format {view.format!r}")
    if view.format == "f" and view.c_contiguous:
        return array("f", view.tobytes())
    return array("f", view.tolist())


def as_id(value: object, *, what: str = "id") -> str:
    """The id, if it is 1 to 512 printable ASCII characters, else ``InvalidKey``."""
    if isinstance(value, str) and 1 <= len(value) <= MAX_ID and value.isascii() and value.isprintable():
        return value
    shown = f"{value[:40]!r} ({len(value)} characters)" if isinstance(value, str) else f"a {type(value).__name__}"
    raise InvalidKey(f"The {what} is 1 to {MAX_ID} printable ASCII characters, not {shown}.")


def as_namespace(value: object) -> str:
    """The namespace; ``""`` and ``"__default__"`` (Pinecone's names for it) are ``"default"``."""
    if value in ("", "__default__"):
        return DEFAULT_NAMESPACE
    return as_id(value, what="namespace")


def as_metadata(given: object, *, of: str) -> dict[str, MetadataValue]:
    """Metadata with plain values: empty lists are left out, sequences are lists, subclasses of str are str.

    Raises:
        InvalidArgument: a key or value is of a kind that no adapter keeps.
        TooLarge: it has more than 40 960 bytes as compact JSON.
    """
    if not isinstance(given, Mapping):
        raise InvalidArgument(f"The metadata of {of} is a mapping, not a {type(given).__name__}.")
    plain = {_key(key, of): _value(value, key, of) for key, value in given.items()}
    kept = {key: value for key, value in plain.items() if value != []}
    check_size(kept, of=of)
    return kept


def _key(key: object, of: str) -> str:
    if isinstance(key, str) and key and not key.startswith("$"):
        return str.__str__(key)
    raise InvalidArgument(f"The metadata of {of} has the key {key!r}; keys are non-empty and do not begin with '$'.")


def _value(value: object, key: str, of: str) -> MetadataValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)) and all(isinstance(element, str) for element in value):
        return [str.__str__(element) for element in value]
    raise InvalidArgument(
        f"The metadata of {of} has a {type(value).__name__} in {key!r} that cannot be kept; allowed are texts, bools, "
        f"finite numbers, whole numbers up to 2**53, and lists of texts. Leave a missing value out."
    )
