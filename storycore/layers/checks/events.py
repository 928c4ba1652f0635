"""The limits of the EventSink port."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson
from pydantic import JsonValue

from storycore.errors import InvalidArgument, TooLarge
from storycore.layers.checks.arguments import instant, text, utf8
from storycore.layers.checks.forward import Forward
from storycore.layers.checks.text import check_whole_number
from storycore.ports.events import Emitted, Event, EventPage, EventSink, Offset

__all__ = ["CheckedEvents"]

_NAME_CHARS: Final = 128
_SUBJECT_CHARS: Final = 512
_DATA_BYTES: Final = 256 * 1024
_DATA_DEPTH: Final = 64
_LIMIT: Final = 10_000
_TYPES: Final = 100
_INT64: Final = 2**63


class CheckedEvents(Forward[EventSink]):
    """Refuses what not every event sink can keep, and hands on instants in UTC and data as plain JSON values."""

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append events after each one has been checked."""
        if isinstance(events, str | bytes) or not isinstance(events, Sequence):
            raise InvalidArgument(f"events is {type(events).__name__}, expected a sequence of Event.")
        checked = [_event(event, f"events[{i}]") for i, event in enumerate(events)]
        return await self.inner.emit(checked)

    async def read(
        self,
        after: Offset | None = None,
        *,
        types: Sequence[str] = (),
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
    ) -> EventPage:
        """Read with a sound offset, filter and limit."""
        if after is not None:
            check_whole_number(after, 0, _INT64 - 1, what="offset after")
        if isinstance(types, str | bytes) or not isinstance(types, Sequence):
            raise InvalidArgument(f"types is {type(types).__name__}, expected a sequence of str.")
        if len(types) > _TYPES:
            raise InvalidArgument(f"{len(types)} types are asked for, expected at most {_TYPES}; none means all.")
        for i, name in enumerate(types):
            text(name, f"types[{i}]", shortest=1, longest=_NAME_CHARS)
        if subject is not None:
            text(subject, "subject", shortest=0, longest=_SUBJECT_CHARS)
        check_whole_number(limit, 1, _LIMIT, what="limit")
        return await self.inner.read(
            after,
            types=types,
            subject=subject,
            since=None if since is None else instant(since, "since"),
            until=None if until is None else instant(until, "until"),
            limit=limit,
        )

    async def trim(self, before: datetime) -> int:
        """Remove events before an instant."""
        return await self.inner.trim(instant(before, "before"))


def _event(event: object, what: str) -> Event:
    if not isinstance(event, Event):
        raise InvalidArgument(f"{what} is {type(event).__name__}, expected Event.")
    text(event.id, f"{what}.id", shortest=1, longest=_NAME_CHARS)
    text(event.type, f"{what}.type", shortest=1, longest=_NAME_CHARS)
    text(event.subject, f"{what}.subject", shortest=0, longest=_SUBJECT_CHARS)
    return replace(event, at=instant(event.at, f"{what}.at"), data=_data(event.data, f"{what}.data"))


def _data(data: object, what: str) -> dict[str, JsonValue]:
    if not isinstance(data, Mapping):
        raise InvalidArgument(f"{what} is {type(data).__name__}, expected a mapping.")
    plain = {_name(key, what): _json(value, f"{what}[{key!r}]", 1) for key, value in data.items()}
    sizes = {key: len(orjson.dumps({key: value})) - 1 for key, value in plain.items()}
    size = sum(sizes.values()) + 1 if sizes else 2
    if size > _DATA_BYTES:
        raise TooLarge(
            f"{what} has {size} bytes as JSON, expected at most {_DATA_BYTES}; keep large content in a blob.",
            limit=_DATA_BYTES,
            actual=size,
            breakdown=dict(sorted(sizes.items(), key=lambda item: -item[1])),
        )
    return plain


def _name(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise InvalidArgument(f"{what} has a key of type {type(key).__name__}, expected str.")
    return _string(key, f"a key of {what}")


def _json(value: object, what: str, depth: int) -> JsonValue:
    """``value`` as a fresh plain JSON value; a tuple becomes a list."""
    if depth > _DATA_DEPTH:
        raise InvalidArgument(f"{what} is nested deeper than {_DATA_DEPTH} levels; flatten it.")
    match value:
        case None | bool():
            return value
        case str():
            return _string(value, what)
        case int() | float():
            return _number(value, what)
        case Mapping():
            return {_name(key, what): _json(item, f"{what}[{key!r}]", depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [_json(item, f"{what}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise InvalidArgument(f"{what} is {type(value).__name__}, which JSON cannot hold.")


def _string(value: str, what: str) -> str:
    utf8(value.replace("\0", ""), what)
    return str.__str__(value)  # not str(value): an enum of text would give its name


def _number(value: float, what: str) -> float:
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise InvalidArgument(f"{what} is {value}, expected an integer of 64 bits; write it as text.")
    if not math.isfinite(value):
        raise InvalidArgument(f"{what} is {value}, which JSON cannot hold.")
    return int(value) if isinstance(value, int) else float(value)
