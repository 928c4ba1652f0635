"""Cursors: where a listing stopped, sealed so that nobody can alter one or use it for another query."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

import orjson

from storycore.errors import ConfigError, InvalidCursor
from storycore.ports.entities import Key, Position
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor

__all__ = ["Bookmark", "CursorSeal", "QueryIdentity"]

_FORMAT = 2
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryIdentity:
    """Everything that makes two queries the same listing; the page's length is not part of it.

    Args:
        kind: of the entity, or of all entities of a collection.
        index: its name, ``""`` for the table.
        partition: key text of the partition without its shard, ``""`` for a scan.
        low: key text from which sort keys are listed.
        high: key text below which they are listed.
        reverse: the direction.
        where: the filter, if there is one.
        order: of the partition, as its declaration tells it.
    """

    kind: str
    index: str
    partition: str
    low: str | None
    high: str | None
    reverse: bool
    where: Filter | None
    order: str = ""

    def digest(self) -> bytes:
        """A digest of all of it, the same in every process."""
        where = repr(self.where)
        parts = [self.kind, self.index, self.partition, self.low, self.high, self.reverse, where, self.order]
        return hashlib.sha256(orjson.dumps(parts)).digest()


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What a cursor says.

    Args:
        position: a place in the listing, whether or not a record is still there; ``None``: the end of the listing.
        before: the page ends in front of that place; else it begins behind it.
    """

    position: Position | None
    before: bool = False


class CursorSeal:
    """Makes and opens cursors.

    Args:
        key: the secret; whoever shares it accepts the cursors. At least 16 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ConfigError(
                "The key that signs cursors needs 16 bytes or more; make one with secrets.token_bytes(32)."
            )
        self._key = key

    def seal(self, query: QueryIdentity, mark: Bookmark) -> Cursor:
        """The cursor of a place in ``query``.

        The partition is not told, for ``query`` names it; so a cursor outlives a change of the number of shards.
        """
        place: list[str] = []
        if mark.position is not None:
            key, index_key = mark.position.key, mark.position.index_key
            place = [key.pk, key.sk] if index_key is None else [key.pk, key.sk, index_key.sk]
        body = orjson.dumps([_FORMAT, mark.before, *place])
        return Cursor(urlsafe_b64encode(self._mac(query, body) + body).rstrip(b"=").decode())

    def open(self, query: QueryIdentity, cursor: Cursor) -> Bookmark:
        """Where ``query`` goes on.

        Raises:
            InvalidCursor: it was altered, sealed with another key, or belongs to another query.
        """
        sealed = _decoded(cursor)
        mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(query, body)):
            raise _foreign()
        number, *rest = orjson.loads(body)
        if number != _FORMAT:
            raise _foreign()
        before, *place = rest
        return Bookmark(_position(query, place), before)

    def _mac(self, query: QueryIdentity, body: bytes) -> bytes:
        return hmac.digest(self._key, query.digest() + body, "sha256")[:_MAC_BYTES]


def _position(query: QueryIdentity, place: list[str]) -> Position | None:
    if not place:
        return None
    pk, sk, *index_sk = place
    return Position(Key(pk, sk), Key(query.partition, index_sk[0]) if index_sk else None)


def _decoded(cursor: Cursor) -> bytes:
    if not isinstance(cursor, str):
        raise InvalidCursor(f"A cursor is text, not {type(cursor).__name__}; hand in the one that a page carries.")
    try:
        sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as exc:
        raise _foreign() from exc
    if urlsafe_b64encode(sealed).rstrip(b"=").decode() != cursor:
        raise _foreign()
    return sealed


def _foreign() -> InvalidCursor:
    return InvalidCursor(
        "The cursor was altered or belongs to another query; use it with the same index, values, bounds, direction and "
        "filter, or begin again without it."
    )
