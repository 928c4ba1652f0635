"""Tokens of atomic writes: what an atomic write did, kept for 10 minutes in the same transaction as the write."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from storycore.errors import Corrupt, InvalidArgument, TooLarge
from storycore.ports.conditions import Version
from storycore.ports.entities import Key, Patch, Put, Write, Written
from storycore.ports.records import put_record
from storycore.ports.write_digest import write_digest
from storycore_dynamodb._wire import (
    RESERVED_PK,
    AttributeValue,
    Item,
    item_of,
    key_values,
    number,
    number_of,
    record_of,
)

__all__ = ["TokenState", "part_keys", "token_items", "token_key", "token_results"]

_WINDOW: Final = 600_000_000
_PART_BYTES: Final = 380_000
_MOST_ACTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token and the writes that are asked for under it."""

    token: str
    writes: Sequence[Write]

    def require_same(self, item: Item) -> None:
        """Raise ``InvalidArgument`` when the token was used with other writes."""
        if bytes(item["digest"]["B"]) != write_digest(self.writes):
            raise InvalidArgument(f"The token {self.token!r} was used with other writes; take a new token.")


def token_key(token: str) -> Key:
    """Where a token is kept."""
    return Key(RESERVED_PK, f"token#{token}")


def part_keys(item: Item) -> list[Key]:
    """Where the rest of a token's results is kept."""
    token = item["sk"]["S"].removeprefix("token#")
    return [Key(RESERVED_PK, f"part#{number_of(item['parts'])}#{i}#{token}") for i in range(number_of(item["parts"]))]


def token_items(state: TokenState, results: Sequence[Written], *, write_id: str, now: int) -> list[Item]:
    """The token's item and, where the results are large, further ones.

    Raises:
        TooLarge: the results do not fit in the transaction.
    """
    packed = zlib.compress(orjson.dumps([_packed(*pair) for pair in zip(state.writes, results, strict=True)]), 1)
    first, *rest = [packed[at : at + _PART_BYTES] for at in range(0, len(packed), _PART_BYTES)]
    _require_room(state, len(rest), len(packed))
    until = now + _WINDOW
    life: dict[str, AttributeValue] = {
        "_w": {"S": write_id},
        "_x": number(until),
        "ttl": number(-(-until // 1_000_000)),
    }
    item: dict[str, AttributeValue] = {
        **key_values(token_key(state.token)),
        **life,
        "digest": {"B": write_digest(state.writes)},
        "results": {"B": first},
        "parts": number(len(rest)),
    }
    parts = zip(part_keys(item), rest, strict=True)
    return [item, *({**key_values(key), **life, "results": {"B": part}} for key, part in parts)]


def token_results(state: TokenState, item: Item, parts: Sequence[Item | None]) -> list[Written]:
    """The first call's results.

    Raises:
        Corrupt: a part is missing.
    """
    if None in parts:
        raise Corrupt(f"The results of the token {state.token!r} are not whole; read the records instead.")
    packed = b"".join(bytes(part["results"]["B"]) for part in (item, *parts) if part is not None)
    entries = orjson.loads(zlib.decompress(packed))
    return [_unpacked(write, *entry) for write, entry in zip(state.writes, entries, strict=True)]


def _require_room(state: TokenState, parts: int, size: int) -> None:
    room = _MOST_ACTIONS - len(state.writes) - 1
    if parts > room:
        raise TooLarge(
            f"The token {state.token!r} would have to keep {size} bytes of patched records, and {len(state.writes)} "
            "writes leave too little room for them in one transaction; make two calls.",
            limit=(room + 1) * _PART_BYTES,
            actual=size,
        )


def _packed(write: Write, result: Written) -> list[object]:
    """A result as JSON; the record of a put follows from the call, that of a patch is kept."""
    if not isinstance(write, Patch) or result.record is None:
        return [result.version, result.created, None]
    item = item_of(result.record, write_id="", written_at=0)
    if "B" in item.get("d", {}):
        item["d"] = {"B64": base64.b64encode(item["d"]["B"]).decode()}
    return [result.version, result.created, item]


def _unpacked(write: Write, version: int | None, created: bool, item: dict[str, Any] | None) -> Written:
    known = None if version is None else Version(version)
    if isinstance(write, Put) and known is not None:
        return Written(key=write.key, version=known, created=created, record=put_record(write, known))
    if item is None:
        return Written(key=write.key, version=known, created=created)
    if "B64" in item.get("d", {}):
        item["d"] = {"B": base64.b64decode(item["d"]["B64"])}
    return Written(key=write.key, version=known, created=created, record=record_of(item))
