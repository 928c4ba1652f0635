"""The order of an index as one text, for stores that sort by a single key: (index sk, pk, sk), and nothing collides."""

from __future__ import annotations

from storycore.ports.entities import Key

__all__ = ["INDEX_PLACE_BYTES", "index_place", "index_prefix"]

INDEX_PLACE_BYTES = 1024
"""The longest place in an index (DynamoDB: length of a sort key)."""

_END = "\0"
_ESCAPES = {0: "\1\1", 1: "\1\2"}


def index_place(index_key: Key, key: Key) -> str:
    """Text that sorts like the tuple (index sk, pk, sk); different tuples have different text."""
    return f"{index_prefix(index_key.sk)}{_END}{index_prefix(key.pk)}{_END}{index_prefix(key.sk)}"


def index_prefix(index_sk: str) -> str:
    """What the places of exactly those records begin with whose index sort key begins with ``index_sk``.

    As a bound it lies below all places of ``index_sk`` and above all places of smaller index sort keys.
    """
    return index_sk.translate(_ESCAPES) if "\0" in index_sk or "\1" in index_sk else index_sk
