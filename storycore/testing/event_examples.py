"""Events and arguments that the EventSink suite tries: what must be kept, and what must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from storycore.errors import InvalidArgument, InvalidKey, TooLarge
from storycore.ports.events import Event, EventPage, EventSink, Offset

__all__ = ["BAD_EVENTS", "BAD_READS", "DATA", "INSTANTS", "NAMES", "NOON", "event", "ids", "walk"]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(name: str, **changes: Any) -> Event:
    """An event with that id; ``changes`` set its other fields."""
    return Event(**{"id": name, "type": "thing.done", "at": NOON, "subject": "u1", "data": {"n": 1}, **changes})


def nested(levels: int) -> dict[str, Any]:
    """A mapping in a mapping, and so on."""
    data: dict[str, Any] = {}
    for _ in range(levels):
        data = {"deeper": data}
    return data


DATA: dict[str, Mapping[str, Any]] = {
    "nothing": {},
    "every type": {"none": None, "yes": True, "no": False, "one": 1, "half": 0.5, "text": "a", "list": [], "map": {}},
    "true beside one": {"a": [True, 1, 1.5, False, 0]},
    "whole numbers of 64 bits": {"least": -(2**63), "most": 2**63 - 1, "no double": 2**53 + 1},
    "small and large doubles": {"tiny": 5e-324, "large": 1.7976931348623157e308, "third": 1 / 3, "minus": -0.5},
    "text beyond ASCII": {"é": "e\u0301", "emoji": "👩‍🚀", "last": "\U0010ffff", "quote": '"\\/', "line": "\n\r\u2028"},
    "empty key and text": {"": ""},
    "odd keys": {"$a": 1, "a.b": 2, "a'b": 3, "%s": 4, "id": 5, "type": 6},
    "nested lists": {"a": [[1, [2, [3, {"b": [None]}]]]]},
    "deep": nested(60),
    "NUL in text": {"a": "x\0y"},
}

NAMES = ["a", "A", "é", "e\u0301", "x" * 128, "story.published", "'; --", "%", "_", "{}", " ", "\n", "漢字", "👩‍🚀"]

INSTANTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC),
    datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]

BAD_EVENTS: dict[str, tuple[Any, type[InvalidArgument]]] = {
    "no event": ({"id": "a"}, InvalidArgument),
    "empty id": (event(""), InvalidKey),
    "long id": (event("x" * 129), InvalidKey),
    "id that is no text": (event("a", id=7), InvalidKey),
    "id with NUL": (event("a\0b"), InvalidKey),
    "id with half a surrogate pair": (event("\ud800"), InvalidKey),
    "empty type": (event("a", type=""), InvalidKey),
    "long type": (event("a", type="x" * 129), InvalidKey),
    "long subject": (event("a", subject="x" * 513), InvalidKey),
    "subject None": (event("a", subject=None), InvalidKey),
    "naive instant": (event("a", at=datetime(2026, 1, 1)), InvalidArgument),  # noqa: DTZ001 - what is refused
    "date as text": (event("a", at="2026-01-01"), InvalidArgument),
    "data that is no mapping": (event("a", data=[1]), InvalidArgument),
    "data with a key that is no text": (event("a", data={1: 2}), InvalidArgument),
    "data with NaN": (event("a", data={"x": float("nan")}), InvalidArgument),
    "data with infinity": (event("a", data={"x": [float("inf")]}), InvalidArgument),
    "data with bytes": (event("a", data={"x": b"b"}), InvalidArgument),
    "data with a datetime": (event("a", data={"x": NOON}), InvalidArgument),
    "data with a set": (event("a", data={"x": {1}}), InvalidArgument),
    "data with an integer beyond 64 bits": (event("a", data={"x": 2**63}), InvalidArgument),
    "data with half a surrogate pair": (event("a", data={"x": "\udfff"}), InvalidArgument),
    "data that is too deep": (event("a", data=nested(65)), InvalidArgument),
    "data that is too large": (event("a", data={"x": "y" * 256 * 1024}), TooLarge),
}

BAD_READS: dict[str, dict[str, Any]] = {
    "limit 0": {"limit": 0},
    "limit 10 001": {"limit": 10_001},
    "limit True": {"limit": True},
    "limit as text": {"limit": "1"},
    "offset below nought": {"after": -1},
    "offset as text": {"after": "1"},
    "types as one text": {"types": "a"},
    "an empty type": {"types": [""]},
    "a type that is no text": {"types": [1]},
    "more types than a read may name": {"types": [str(number) for number in range(101)]},
    "a subject that is no text": {"subject": 1},
    "naive since": {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
    "naive until": {"until": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
    "since as text": {"since": "2026"},
}


def ids(page: EventPage) -> list[str]:
    """The ids on a page."""
    return [stored.event.id for stored in page.events]


async def walk(store: EventSink, *, after: Offset | None = None, limit: int = 1000, **where: Any) -> list[str]:
    """The ids of all events behind ``after``, page by page."""
    found: list[str] = []
    while True:
        page = await store.read(after, limit=limit, **where)
        found += ids(page)
        if len(page.events) < limit:
            return found
        assert page.next > (after or 0), "the log does not get on"
        after = page.next
