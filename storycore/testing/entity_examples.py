"""Keys, values and calls that the EntityStore suite tries: what must be kept, and what must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from storycore.errors import InvalidArgument, InvalidKey, StorycoreError, TooLarge
from storycore.ports.conditions import ABSENT, Matches, Version
from storycore.ports.entities import (
    Change,
    Check,
    Delete,
    EntityStore,
    FeedPosition,
    Key,
    Patch,
    Position,
    Put,
    QueryPlan,
    Record,
    Segment,
    Write,
    Written,
)

__all__ = [
    "BAD_CALLS",
    "BAD_KEYS",
    "BAD_PLANS",
    "BAD_SCANS",
    "BAD_WRITES",
    "FIELDS",
    "ORDERED",
    "P",
    "content",
    "find",
    "key",
    "put",
    "walk",
    "walk_changes",
    "walk_segment",
    "write",
]

P = "p"
"""The partition of ``key``."""

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what is refused
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

ORDERED = [
    "\0",
    "\0\0",
    "\t",
    " ",
    "!",
    "#",
    "%",
    "'; DROP TABLE items; --",
    "0",
    "1",
    "10",
    "2",
    "A",
    "B",
    "_",
    "a",
    "a\0",
    "a\0b",
    "a b",
    "aa",
    "b",
    "e\u0301",
    "z",
    "\x7f",
    "é",
    "ſ",
    "漢字",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "👩‍🚀",
    "\U0010ffff",
]
"""Sort keys in the order of their UTF-8 bytes: UTF-16 order, collation or trimming would give another one."""

FIELDS: dict[str, Any] = {
    "text": "a",
    "empty text": "",
    "text beyond ASCII": "e\u0301 é 👩‍🚀 \U0010ffff \0 \"\\/ '",
    "text like a number": "1",
    "nought": 0,
    "one": 1,
    "minus one": -1,
    "64 bits": 2**63 - 1,
    "beyond 64 bits": 2**63,
    "38 digits": 10**38 - 1,
    "minus 38 digits": -(10**38 - 1),
    "a large round number": 10**125,
    "half": 0.5,
    "a whole float": 1.0,
    "a tenth": 0.1,
    "a third": 1 / 3,
    "a small float": 1e-130,
    "a large float": 1.5e125,
    "a decimal": Decimal("1.10"),
    "a round decimal": Decimal("1E+125"),
    "the largest decimal": Decimal("9." + "9" * 37 + "E+125"),
    "minus nought": -0.0,
    "a whole decimal": Decimal("7"),
    "a small decimal": Decimal("1E-130"),
    "38 decimal digits": Decimal("1.2345678901234567890123456789012345678"),
    "true": True,
    "false": False,
    "a set": frozenset({"a"}),
    "a set of empty text": frozenset({""}),
    "a set beyond ASCII": frozenset({"", "a", "A", "é", "👩‍🚀", "1", "a b"}),
    "a set of a thousand": frozenset(str(i) for i in range(1000)),
}

BAD_KEYS: dict[str, tuple[Any, type[StorycoreError]]] = {
    "no key": ("a", InvalidKey),
    "a pair": (("a", "b"), InvalidKey),
    "None": (None, InvalidKey),
    "empty pk": (Key("", "a"), InvalidKey),
    "empty sk": (Key("a", ""), InvalidKey),
    "number as pk": (Key(1, "a"), InvalidKey),  # type: ignore[arg-type]  # what is refused
    "bytes as sk": (Key("a", b"a"), InvalidKey),  # type: ignore[arg-type]  # what is refused
    "long pk": (Key("x" * 2049, "a"), InvalidKey),
    "long pk in bytes": (Key("é" * 1025, "a"), InvalidKey),
    "long sk": (Key("a", "x" * 1025), InvalidKey),
    "half a surrogate pair": (Key("a", "\ud800"), InvalidKey),
    "a partition of the adapter's own": (Key("\0storycore", "a"), InvalidKey),
}


def key(sk: str, pk: str = P) -> Key:
    """A key of the partition ``P``."""
    return Key(pk, sk)


def put(sk: str, pk: str = P, **parts: Any) -> Put:
    """A put of kind ``k``; ``parts`` set the rest."""
    return Put(**{"key": Key(pk, sk), "kind": "k", **parts})


def _fields(value: object) -> Put:
    return put("a", fields={"f": value})


_X = {"f": frozenset("x")}

BAD_WRITES: dict[str, tuple[Any, type[StorycoreError]]] = {
    "no write": ({"key": key("a")}, InvalidArgument),
    "empty kind": (put("a", kind=""), InvalidArgument),
    "kind that is no text": (put("a", kind=None), InvalidArgument),
    "long kind": (put("a", kind="x" * 256), InvalidArgument),
    "naive expiry": (put("a", expires_at=NAIVE), InvalidArgument),
    "expiry beyond UTC": (
        put("a", expires_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        InvalidArgument,
    ),
    "expiry in seconds": (put("a", expires_at=1), InvalidArgument),
    "body as text": (put("a", body="x"), InvalidArgument),
    "no condition": (put("a", when=None), InvalidArgument),
    "condition as text": (put("a", when="absent"), InvalidArgument),
    "version as text": (put("a", when=Matches("1")), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "version True": (put("a", when=Matches(True)), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "version 0": (put("a", when=Matches(Version(0))), InvalidArgument),
    "slot 0": (put("a", index_keys={0: key("a")}), InvalidArgument),
    "slot 9": (put("a", index_keys={9: key("a")}), InvalidArgument),
    "slot as text": (put("a", index_keys={"1": key("a")}), InvalidArgument),
    "slot True": (put("a", index_keys={True: key("a")}), InvalidArgument),
    "empty index pk": (put("a", index_keys={1: Key("", "a")}), InvalidKey),
    "empty index sk": (put("a", index_keys={1: Key("a", "")}), InvalidKey),
    "long index pk": (put("a", index_keys={1: Key("x" * 2049, "a")}), InvalidKey),
    "long index sk": (put("a", index_keys={1: Key("a", "x" * 1025)}), InvalidKey),
    "index key None": (put("a", index_keys={1: None}), InvalidKey),
    "fields as a list": (put("a", fields=[("f", 1)]), InvalidArgument),
    "empty field name": (put("a", fields={"": 1}), InvalidArgument),
    "long field name": (put("a", fields={"é" * 128: 1}), InvalidArgument),
    "field name with underscore": (put("a", fields={"_f": 1}), InvalidArgument),
    "field name that is no text": (put("a", fields={1: 1}), InvalidArgument),
    "field None": (_fields(None), InvalidArgument),
    "field bytes": (_fields(b"x"), InvalidArgument),
    "field list": (_fields(["a"]), InvalidArgument),
    "field dict": (_fields({"a": 1}), InvalidArgument),
    "field datetime": (_fields(NOON), InvalidArgument),
    "changeable set": (_fields({"a"}), InvalidArgument),
    "empty set": (_fields(frozenset()), InvalidArgument),
    "set of numbers": (_fields(frozenset({1})), InvalidArgument),
    "text with half a surrogate pair": (_fields("\udfff"), InvalidArgument),
    "set with half a surrogate pair": (_fields(frozenset({"\udfff"})), InvalidArgument),
    "NaN": (_fields(float("nan")), InvalidArgument),
    "infinity": (_fields(float("-inf")), InvalidArgument),
    "decimal NaN": (_fields(Decimal("NaN")), InvalidArgument),
    "decimal infinity": (_fields(Decimal("Infinity")), InvalidArgument),
    "39 digits": (_fields(10**38 + 1), InvalidArgument),
    "39 decimal digits": (_fields(Decimal("1." + "1" * 38)), InvalidArgument),
    "number too large": (_fields(10**126), InvalidArgument),
    "float too large": (_fields(1e126), InvalidArgument),
    "number too small": (_fields(Decimal("1E-131")), InvalidArgument),
    "float too small": (_fields(1e-131), InvalidArgument),
    "39 digits of a large number": (_fields(Decimal("1" * 39 + "E+80")), InvalidArgument),
    "large body": (put("a", body=b"x" * 400 * 1024), TooLarge),
    "large text": (put("a", fields={"f": "é" * 200 * 1024}), TooLarge),
    "large patch": (Patch(key=key("a"), body=b"x" * 400 * 1024), TooLarge),
    "patch of what is absent": (Patch(key=key("a"), when=ABSENT), InvalidArgument),
    "field in add and set": (Patch(key=key("a"), add={"f": 1}, set={"f": 1}), InvalidArgument),
    "field in add and unset": (Patch(key=key("a"), add={"f": 1}, unset=frozenset({"f"})), InvalidArgument),
    "field in set and unset": (Patch(key=key("a"), set={"f": 1}, unset=frozenset({"f"})), InvalidArgument),
    "add a float": (Patch(key=key("a"), add={"f": 0.5}), InvalidArgument),  # type: ignore[dict-item]  # what is refused
    "add text": (Patch(key=key("a"), add={"f": "1"}), InvalidArgument),  # type: ignore[dict-item]  # what is refused
    "add True": (Patch(key=key("a"), add={"f": True}), InvalidArgument),
    "add NaN": (Patch(key=key("a"), add={"f": Decimal("NaN")}), InvalidArgument),
    "add to a bad name": (Patch(key=key("a"), add={"_f": 1}), InvalidArgument),
    "set to None": (Patch(key=key("a"), set={"f": None}), InvalidArgument),  # type: ignore[dict-item]  # what is refused
    "no key": (Put(key=None, kind="k"), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "add a list": (Patch(key=key("a"), add=[("f", 1)]), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "set nothing": (Patch(key=key("a"), set=None), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "unset a text": (Patch(key=key("a"), unset="f"), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "unset a bad name": (Patch(key=key("a"), unset=frozenset({""})), InvalidArgument),
    "field in include and exclude": (Patch(key=key("a"), include=_X, exclude=_X), InvalidArgument),
    "field in include and set": (Patch(key=key("a"), include=_X, set={"f": 1}), InvalidArgument),
    "field in exclude and unset": (Patch(key=key("a"), exclude=_X, unset=frozenset({"f"})), InvalidArgument),
    "field in include and add": (Patch(key=key("a"), include=_X, add={"f": 1}), InvalidArgument),
    "include nothing": (Patch(key=key("a"), include={"f": frozenset()}), InvalidArgument),
    "exclude nothing": (Patch(key=key("a"), exclude={"f": frozenset()}), InvalidArgument),
    "include a changeable set": (Patch(key=key("a"), include={"f": {"x"}}), InvalidArgument),  # type: ignore[dict-item]  # what is refused
    "include text": (Patch(key=key("a"), include={"f": "x"}), InvalidArgument),  # type: ignore[dict-item]  # what is refused
    "exclude a number": (Patch(key=key("a"), exclude={"f": frozenset({1})}), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "include half a surrogate pair": (Patch(key=key("a"), include={"f": frozenset({"\ud800"})}), InvalidArgument),
    "include in a bad name": (Patch(key=key("a"), include={"_f": frozenset("x")}), InvalidArgument),
    "exclude as a list": (Patch(key=key("a"), exclude=[("f", "x")]), InvalidArgument),  # type: ignore[arg-type]  # what is refused
    "a large include": (Patch(key=key("a"), include={"f": frozenset({"x" * 400 * 1024})}), TooLarge),
    "a place in an index that is too long": (put("a" * 500, index_keys={1: Key("x", "i" * 600)}), InvalidKey),
    "a place that escapes make too long": (put("a", index_keys={1: Key("x", "\0" * 511)}), InvalidKey),
    "a partition of the adapter's own": (put("a", pk="\0storycore.x"), InvalidKey),
    "an index partition of the adapter's own": (put("a", index_keys={1: Key("\0storycore", "x")}), InvalidKey),
    "patch with a naive expiry": (Patch(key=key("a"), expires_at=NAIVE), InvalidArgument),
    "patch with slot 9": (Patch(key=key("a"), index_keys={9: key("a")}), InvalidArgument),
    "patch with body None": (Patch(key=key("a"), body=None), InvalidArgument),  # type: ignore[arg-type]  # what is refused
}
"""Each is refused with its class of error, alone and in an atomic write, before anything is written."""

BAD_CALLS: dict[str, tuple[Any, dict[str, Any], type[StorycoreError]]] = {
    "one write": (put("a"), {}, InvalidArgument),
    "text": ("writes", {}, InvalidArgument),
    "a repeated key": ([put("a"), Delete(key=key("a"))], {}, InvalidArgument),
    "a repeated key in an atomic write": ([put("a"), Check(key=key("a"))], {"atomic": True}, InvalidArgument),
    "a check that is not atomic": ([put("a"), Check(key=key("b"))], {}, InvalidArgument),
    "a token without atomic": ([put("a")], {"token": "t"}, InvalidArgument),
    "an empty token": ([put("a")], {"atomic": True, "token": ""}, InvalidArgument),
    "a long token": ([put("a")], {"atomic": True, "token": "t" * 37}, InvalidArgument),
    "a token beyond ASCII": ([put("a")], {"atomic": True, "token": "é"}, InvalidArgument),
    "a token that is no text": ([put("a")], {"atomic": True, "token": 1}, InvalidArgument),
    "100 atomic writes and a token": ([put(f"{i}") for i in range(100)], {"atomic": True, "token": "t"}, TooLarge),
    "101 atomic writes": ([put(f"{i}") for i in range(101)], {"atomic": True}, TooLarge),
    "more than 4 MiB in an atomic write": (
        [put(f"{i}", body=b"x" * 399 * 1024) for i in range(11)],
        {"atomic": True},
        TooLarge,
    ),
}

_PLAN = QueryPlan(pk=P)
_AFTER = Position(key("a"))

BAD_PLANS: dict[str, Any] = {
    "no plan": P,
    "empty partition": replace(_PLAN, pk=""),
    "partition of the adapter's own": replace(_PLAN, pk="\0storycore"),
    "index partition of the adapter's own": replace(_PLAN, pk="\0storycore", slot=1),
    "partition that is no text": replace(_PLAN, pk=1),  # type: ignore[arg-type]  # what is refused
    "limit 0": replace(_PLAN, limit=0),
    "limit 1001": replace(_PLAN, limit=1001),
    "limit True": replace(_PLAN, limit=True),
    "limit as text": replace(_PLAN, limit="1"),  # type: ignore[arg-type]  # what is refused
    "slot 0": replace(_PLAN, slot=0),
    "slot 9": replace(_PLAN, slot=9),
    "low above high": replace(_PLAN, low="b", high="a"),
    "low above high in an index": replace(_PLAN, slot=1, low="b", high="a"),
    "empty high": replace(_PLAN, high=""),
    "long low": replace(_PLAN, low="x" * 1025),
    "half a surrogate pair as low": replace(_PLAN, low="\ud800"),
    "low above high in reverse": replace(_PLAN, low="b", high="a", reverse=True),
    "empty low": replace(_PLAN, low=""),
    "bound that is no text": replace(_PLAN, high=1),  # type: ignore[arg-type]  # what is refused
    "consistent index": replace(_PLAN, slot=1, consistent=True),
    "position as text": replace(_PLAN, after="a"),  # type: ignore[arg-type]  # what is refused
    "position of an index": replace(_PLAN, after=Position(key("a"), key("a"))),
    "position of the table in an index": replace(_PLAN, slot=1, after=_AFTER),
    "position of another partition": replace(_PLAN, pk="q", after=_AFTER),
    "position of another index partition": replace(_PLAN, slot=1, after=Position(key("a"), Key("q", "a"))),
    "position with a bad key": replace(_PLAN, after=Position(Key(P, ""))),
}

BAD_SCANS: dict[str, tuple[Any, dict[str, Any]]] = {
    "no segment": (0, {}),
    "no segments": (Segment(0, 0), {}),
    "segment below nought": (Segment(-1, 2), {}),
    "segment out of range": (Segment(2, 2), {}),
    "too many segments": (Segment(0, 1_000_001), {}),
    "limit 0": (Segment(), {"limit": 0}),
    "limit 1001": (Segment(), {"limit": 1001}),
    "position of an index": (Segment(), {"after": Position(key("a"), key("a"))}),
}


def content(record: Record | Put | None) -> Mapping[str, object] | None:
    """Everything but the version, with the types of the fields, so that ``1`` and ``True`` differ."""
    if record is None:
        return None
    return {
        "key": record.key,
        "kind": record.kind,
        "expires_at": record.expires_at,
        "index_keys": dict(record.index_keys),
        "fields": {name: (type(value), value) for name, value in record.fields.items()},
        "body": record.body,
    }


async def write(store: EntityStore, *writes: Write, atomic: bool = False) -> list[Written]:
    """Apply writes in one call."""
    return await store.write(writes, atomic=atomic)


async def find(store: EntityStore, sk: str, pk: str = P) -> Record | None:
    """The record under a key of the partition ``P``, if there is one."""
    return (await store.get([Key(pk, sk)]))[0]


async def walk(store: EntityStore, plan: QueryPlan) -> list[Record]:
    """All records of a query, page by page; no page is longer than the limit."""
    found: list[Record] = []
    while True:
        page = await store.query(plan)
        assert len(page.records) <= plan.limit
        found += page.records
        if page.next is None:
            return found
        assert page.next != plan.after, "the walk does not advance"
        plan = replace(plan, after=page.next)


async def walk_segment(store: EntityStore, segment: Segment, *, limit: int = 100) -> list[Record]:
    """All records of a segment, page by page; no page is longer than the limit."""
    found: list[Record] = []
    after: Position | None = None
    while True:
        page = await store.scan(segment, after=after, limit=limit)
        assert len(page.records) <= limit
        found += page.records
        if page.next is None:
            return found
        assert page.next != after, "the walk does not advance"
        after = page.next


async def walk_changes(store: EntityStore, after: FeedPosition | None = None, *, limit: int = 100) -> list[Change]:
    """All changes behind ``after``, page by page; no page is longer than the limit."""
    found: list[Change] = []
    while True:
        page = await store.changes(after, limit=limit)
        assert len(page.changes) <= limit
        found += page.changes
        if not page.changes:
            return found
        after = page.next
