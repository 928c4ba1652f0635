"""The limits of entity writes: keys, fields, numbers, conditions, sizes, and what one call may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from storycore.errors import InvalidArgument, InvalidKey, TooLarge
from storycore.layers.checks.text import byte_length, check_key, check_sequence, check_whole_number
from storycore.ports.conditions import ABSENT, Matches, Presence
from storycore.ports.entities import INDEX_SLOTS, KEEP, Check, Delete, Key, Patch, Put, Write
from storycore.ports.index_order import INDEX_PLACE_BYTES, index_place
from storycore.ports.item_size import item_size, require_item_size
from storycore.ports.numbers import exact

__all__ = ["check_condition", "check_writes"]

_ATOMIC_WRITES = 100
_ATOMIC_BYTES = 4 * 1024 * 1024
_NAME_BYTES = 255
_TOKEN_LENGTH = 36


def check_writes(writes: Sequence[Write], *, atomic: bool, token: str | None) -> None:
    """Raise the first error in a call of ``EntityStore.write``.

    Raises:
        InvalidArgument: a repeated key, a check outside an atomic write, a token without one, a wrong type, an
            impossible condition, a field name or value that not every store can keep.
        InvalidKey: a key or index key is empty, too long or no text.
        TooLarge: a record above 400 KiB, an atomic write above 100 writes or 4 MiB.
    """
    check_sequence(writes, what="writes")
    for write in writes:
        _check_write(write)
    if len({write.key for write in writes}) < len(writes):
        raise InvalidArgument("A key occurs twice in one write call; combine the writes or make two calls.")
    if atomic:
        _check_atomic(writes, token)
    elif token is not None:
        raise InvalidArgument("A token makes atomic writes idempotent; give it together with atomic=True.")
    elif any(isinstance(write, Check) for write in writes):
        raise InvalidArgument("A Check belongs in an atomic write; give atomic=True.")


def _check_atomic(writes: Sequence[Write], token: str | None) -> None:
    limit = _ATOMIC_WRITES if token is None else _ATOMIC_WRITES - 1
    if len(writes) > limit:
        raise TooLarge(
            f"An atomic write holds at most {_ATOMIC_WRITES} writes, its token counted, not {len(writes)}; split it.",
            limit=limit,
            actual=len(writes),
        )
    sizes = {f"writes[{i}]": item_size(write) for i, write in enumerate(writes) if isinstance(write, Put | Patch)}
    if sum(sizes.values()) > _ATOMIC_BYTES:
        raise TooLarge(
            f"An atomic write holds at most {_ATOMIC_BYTES} bytes, not {sum(sizes.values())}; split it.",
            limit=_ATOMIC_BYTES,
            actual=sum(sizes.values()),
            breakdown=dict(sorted(sizes.items(), key=lambda entry: -entry[1])),
        )
    if token is not None and not (isinstance(token, str) and 1 <= len(token) <= _TOKEN_LENGTH and token.isascii()):
        raise InvalidArgument(f"A token is 1 to {_TOKEN_LENGTH} ASCII characters; a fresh id without dashes will do.")


def _check_write(write: object) -> None:
    if not isinstance(write, Put | Patch | Delete | Check):
        raise InvalidArgument(f"A write is a Put, Patch, Delete or Check, not a {type(write).__name__}.")
    check_key(write.key)
    check_condition(write.when)
    if isinstance(write, Put):
        _check_put(write)
    elif isinstance(write, Patch):
        _check_patch(write)


def check_condition(when: object) -> None:
    """Raise ``InvalidArgument`` unless a write can stand under ``when``."""
    if isinstance(when, Matches):
        check_whole_number(when.version, 1, 2**63 - 1, what="expected version")
    elif not isinstance(when, Presence):
        raise InvalidArgument(f"A condition is ANY, ABSENT, PRESENT or Matches(version), not {type(when).__name__}.")


def _check_put(put: Put) -> None:
    if not isinstance(put.kind, str) or not 1 <= byte_length(put.kind, what="kind") <= _NAME_BYTES:
        raise InvalidArgument(f"A kind is text of 1 to {_NAME_BYTES} bytes.")
    _check_expiry(put.expires_at)
    _check_index_keys(put.index_keys, put.key)
    _check_fields(put.fields)
    _check_body(put.body)
    require_item_size(put)


def _check_patch(patch: Patch) -> None:
    if patch.when == ABSENT:
        raise InvalidArgument("A patch changes a record that exists; use a Put with ABSENT to create one.")
    if not isinstance(patch.unset, frozenset):
        raise InvalidArgument(f"Patch.unset is a frozenset of field names, not a {type(patch.unset).__name__}.")
    changed = {"add": patch.add, "set": patch.set, "include": patch.include, "exclude": patch.exclude}
    for name, given in changed.items():
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"Patch.{name} maps field names to values; it is a {type(given).__name__}.")
    named = [*patch.unset, *(name for given in changed.values() for name in given)]
    if len(set(named)) < len(named):
        raise InvalidArgument("A field stands in one part of a patch only; split the patch in two.")
    for name in patch.unset:
        _check_name(name)
    for name, amount in patch.add.items():
        _check_amount(name, amount)
    _check_fields(patch.set)
    for name, members in (*patch.include.items(), *patch.exclude.items()):
        _check_members(name, members)
    if patch.expires_at is not KEEP:
        _check_expiry(patch.expires_at)
    if patch.index_keys is not KEEP:
        _check_index_keys(patch.index_keys, patch.key)
    if patch.body is not KEEP:
        _check_body(patch.body)
    require_item_size(patch)


def _check_members(name: str, members: object) -> None:
    _check_name(name)
    if not isinstance(members, frozenset):
        raise InvalidArgument(f"The members of field {name!r} are a frozenset of text, not a {type(members).__name__}.")
    _check_set(name, members)


def _check_amount(name: str, amount: object) -> None:
    _check_name(name)
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        raise InvalidArgument(f"What is added to field {name!r} is an int or a Decimal, not {type(amount).__name__}.")
    exact(amount, what=f"what is added to field {name!r}")


def _check_expiry(expires_at: object) -> None:
    if expires_at is None:
        return
    if not isinstance(expires_at, datetime) or expires_at.utcoffset() is None:
        raise InvalidArgument("expires_at is a datetime with a time zone; write datetime(..., tzinfo=UTC).")
    try:
        expires_at.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidArgument("expires_at lies outside the years 1 to 9999 of UTC; write None for never.") from exc


def _check_index_keys(index_keys: object, owner: Key) -> None:
    if not isinstance(index_keys, Mapping):
        raise InvalidArgument(f"index_keys maps slots to keys; it is a {type(index_keys).__name__}.")
    for slot, key in index_keys.items():
        check_whole_number(slot, 1, INDEX_SLOTS, what="index slot")
        check_key(key, what=f"index key of slot {slot}")
        length = byte_length(index_place(key, owner), what=f"index key of slot {slot}")
        if length > INDEX_PLACE_BYTES:
            raise InvalidKey(
                f"The sort key of index slot {slot} and the record's own key have {length} bytes together, at most "
                f"{INDEX_PLACE_BYTES} are allowed; shorten or hash one of them."
            )


def _check_body(body: object) -> None:
    if not isinstance(body, bytes):
        raise InvalidArgument(f"A body is bytes, not {type(body).__name__}; encode it.")


def _check_fields(fields: object) -> None:
    if not isinstance(fields, Mapping):
        raise InvalidArgument(f"fields maps names to values; it is a {type(fields).__name__}.")
    for name, value in fields.items():
        _check_name(name)
        _check_value(name, value)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= byte_length(name, what="field name") <= _NAME_BYTES:
        raise InvalidArgument(f"The field name {name!r:.300} is not text of 1 to {_NAME_BYTES} bytes.")
    if name.startswith("_"):
        raise InvalidArgument(f"The field name {name!r} begins with '_', which stores keep for themselves; rename it.")


def _check_value(name: str, value: object) -> None:
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, frozenset):
        _check_set(name, value)
    elif isinstance(value, int | float | Decimal):
        if not isinstance(value, bool):
            exact(value, what=f"field {name!r}")
    else:
        raise InvalidArgument(
            f"The field {name!r} is a {type(value).__name__}; a field holds text, a number, a bool or a frozenset of "
            "text, everything else belongs in the body."
        )


def _check_set(name: str, members: frozenset[object]) -> None:
    if not members:
        raise InvalidArgument(f"The field {name!r} is an empty set, which no store can keep; leave it out.")
    for member in members:
        if not isinstance(member, str):
            raise InvalidArgument(f"The set in field {name!r} holds a {type(member).__name__}; its members are text.")
        _check_text(name, member)


def _check_text(name: str, text: str) -> None:
    try:
        byte_length(text, what=f"text of field {name!r}")
    except InvalidKey as exc:
        raise InvalidArgument(exc.message) from exc
