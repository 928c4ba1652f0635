"""Whose an item is, as far as it says so itself: for restoring, or forgetting, what belongs to one user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from storycore.backup.entries import Entry
from storycore.backup.items import put_of, read_event, read_vector
from storycore.entities.uniqueness import marker_kind
from storycore.ports.lifecycle import PortName

__all__ = ["owner_of"]

_FIELD = "user_id"
_METADATA = "user-id"
"""Keys of a blob's metadata have no underscore (S3: they travel in HTTP headers)."""
_USER_KEY = "user#"


def owner_of(port: str, entry: Entry) -> str | None:
    """The user to whom an item belongs; ``None``: nobody, or it does not say.

    A record says so by its field ``user_id``; a mark that keeps a user's address unique, by the user's key; a vector
    by ``user_id`` in its metadata, a blob by ``user-id``; an event by its subject, or by ``user_id`` in its data.

    Args:
        port: the port's name.
        entry: of an item that is there.
    """
    find = _FINDERS.get(port)
    return None if find is None or entry.item is None else find(entry.item)


def _of_record(item: bytes) -> str | None:
    put = put_of(item)
    if put.kind.endswith(marker_kind("")):
        owner = str(put.fields.get("pk", ""))
        return unquote(owner.removeprefix(_USER_KEY)) if owner.startswith(_USER_KEY) else None
    named = put.fields.get(_FIELD)
    return _text(_read(put.body).get(_FIELD) if named is None else named)


def _of_vector(item: bytes) -> str | None:
    return _text(read_vector(item)[1].metadata.get(_FIELD))


def _of_blob(item: bytes) -> str | None:
    found = orjson.loads(item)
    return _text(found[1].get(_METADATA))


def _of_event(item: bytes) -> str | None:
    event = read_event(item)
    return _text(event.data.get(_FIELD)) or _text(event.subject)


def _read(body: bytes) -> Mapping[str, Any]:  # JSON values
    """The body's fields; none where it is no JSON object, or does not name a user."""
    if b'"' + _FIELD.encode() + b'"' not in body:
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_FINDERS: Mapping[str, Callable[[bytes], str | None]] = {
    PortName.ENTITIES: _of_record,
    PortName.VECTORS: _of_vector,
    PortName.BLOBS: _of_blob,
    PortName.EVENTS: _of_event,
}
