"""The steps of a trace over entity stores, as data: what is done, before any store's own versions are put in."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition
from storycore.ports.entities import KEEP, Check, Delete, Keep, Key, Patch, Position, Put, QueryPlan, Write

__all__ = [
    "CHOICES",
    "INDEX_PARTITIONS",
    "KEYS",
    "SEEDS",
    "SLOTS",
    "Advance",
    "Follow",
    "Get",
    "Intent",
    "Query",
    "Reopen",
    "Repeat",
    "Scan",
    "Step",
    "Sweep",
    "Wish",
    "WriteAll",
    "any_step",
]

T = TypeVar("T")

NAMES = ("a", "b", "é", "\ue000", "👩‍🚀")
PARTITIONS = ("p", "q")
KEYS = tuple(Key(pk, sk) for pk in PARTITIONS for sk in NAMES)
"""Every key that a trace writes."""
INDEX_PARTITIONS = ("x", "y")
SLOTS = (1, 2)
TOKENS = ("t", "u")

VALUES: tuple[Any, ...] = (
    0,
    7,
    2**63 - 1,
    10**38 - 1,
    -3,
    0.1,
    Decimal("0.5"),
    Decimal("1E-130"),
    True,
    "",
    "t",
    frozenset({"m", "n"}),
)
MEMBERS = (frozenset({"m"}), frozenset({"n", "é"}), frozenset({"m", "n"}), frozenset({""}))
AMOUNTS: tuple[int | Decimal, ...] = (1, -3, Decimal("0.25"), 10**38 - 1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a write demands, before each store's own versions are put in.

    Args:
        condition: one that names no version; ``None``: a version.
        pick: which of the versions that the key has had; the newest is 0.
    """

    condition: Condition | None = ANY
    pick: int = 0


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that is to be done; its expiry is counted from the moment of the call.

    Args:
        write: what is written, without condition and expiry.
        wish: its condition.
        seconds: until a put or patch expires; ``None``: what the write says.
    """

    write: Write
    wish: Wish = Wish()
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class WriteAll:
    """One call of ``write``."""

    intents: tuple[Intent, ...]
    atomic: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The first call that was made with a token once more."""

    token: str


@dataclass(frozen=True, slots=True)
class Get:
    """Reads by key."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A walk of a partition, page by page."""

    plan: QueryPlan


@dataclass(frozen=True, slots=True)
class Scan:
    """A walk of every segment."""

    of: int
    limit: int


@dataclass(frozen=True, slots=True)
class Advance:
    """Time passes."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Expired records are removed."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Stores whose records outlive the process are opened anew; after a crash nobody has closed them."""

    crash: bool


@dataclass(frozen=True, slots=True)
class Follow:
    """The feed is read on to its end."""

    limit: int


Step: TypeAlias = WriteAll | Repeat | Get | Query | Scan | Advance | Sweep | Reopen | Follow

SEEDS = tuple(
    Intent(
        Put(key=Key("p", name), kind="k1", index_keys={1: Key("x", "a")}, fields={"f": i}, body=b"seed"),
        Wish(ABSENT),
        60 if i % 2 else None,
    )
    for i, name in enumerate(reversed(NAMES))
)
"""The records with which every trace begins."""


def any_step(choose: random.Random) -> Step:
    """A step of any kind; writes are the most frequent."""
    return choose.choice(_OFTEN)(choose)


def _write_one(choose: random.Random) -> WriteAll:
    return WriteAll((_change(choose),))


def _write_several(choose: random.Random) -> WriteAll:
    return WriteAll(_distinct([_change(choose) for _ in range(choose.randint(2, 4))]))


def _write_atomic(choose: random.Random) -> WriteAll:
    wanted = [choose.choice((_change, _change, _check))(choose) for _ in range(choose.randint(1, 4))]
    return WriteAll(_distinct(wanted), atomic=True)


def _write_with_token(choose: random.Random) -> WriteAll:
    wanted = _distinct([_change(choose) for _ in range(choose.randint(1, 2))])
    return WriteAll(wanted, atomic=True, token=choose.choice(TOKENS))


def _repeat(choose: random.Random) -> Repeat:
    return Repeat(choose.choice(TOKENS))


def _get(choose: random.Random) -> Get:
    return Get(tuple(choose.choice(KEYS) for _ in range(choose.randint(0, 5))))


def _query_table(choose: random.Random) -> Query:
    pk = choose.choice(PARTITIONS)
    after = _maybe(choose, NAMES)
    low, high = _bounds(choose)
    plan = QueryPlan(
        pk=pk,
        low=low,
        high=high,
        reverse=choose.choice((False, True)),
        limit=choose.choice((1, 2, 1000)),
        after=None if after is None else Position(Key(pk, after)),
        consistent=choose.choice((False, True)),
        bodies=choose.choice((True, False)),
    )
    return Query(plan)


def _query_index(choose: random.Random) -> Query:
    pk = choose.choice(INDEX_PARTITIONS)
    after = _maybe(choose, NAMES)
    low, high = _bounds(choose)
    plan = QueryPlan(
        pk=pk,
        slot=choose.choice(SLOTS),
        low=low,
        high=high,
        reverse=choose.choice((False, True)),
        limit=choose.choice((1, 2, 1000)),
        after=None if after is None else Position(choose.choice(KEYS), Key(pk, after)),
    )
    return Query(plan)


def _scan(choose: random.Random) -> Scan:
    return Scan(choose.randint(1, 3), choose.choice((1, 3, 1000)))


def _advance(choose: random.Random) -> Advance:
    return Advance(choose.choice((1, 5, 60, 3600, 100_000)))


def _sweep(choose: random.Random) -> Sweep:
    return Sweep()


def _reopen(choose: random.Random) -> Reopen:
    return Reopen(choose.choice((False, True)))


def _follow(choose: random.Random) -> Follow:
    return Follow(choose.choice((1, 3, 1000)))


CHOICES: Mapping[str, Callable[[random.Random], Step]] = {
    "write_one": _write_one,
    "write_several": _write_several,
    "write_atomic": _write_atomic,
    "write_with_token": _write_with_token,
    "repeat": _repeat,
    "get": _get,
    "query_table": _query_table,
    "query_index": _query_index,
    "scan": _scan,
    "advance": _advance,
    "sweep": _sweep,
    "reopen": _reopen,
    "follow": _follow,
}
"""The kinds of steps, and how one of each is chosen."""

_WEIGHTS = {"write_one": 6, "write_several": 4, "write_atomic": 6, "write_with_token": 2, "query_index": 2}
_OFTEN = [chooser for name, chooser in CHOICES.items() for _ in range(_WEIGHTS.get(name, 1))]


def _change(choose: random.Random) -> Intent:
    key = choose.choice(KEYS)
    seconds = choose.choice((None, None, None, None, None, 0, 5, 60))
    form = choose.choice((_put, _put, _put, _patch, _patch, _patch, _delete))
    return form(choose, key, seconds)


def _put(choose: random.Random, key: Key, seconds: int | None) -> Intent:
    write = Put(
        key=key,
        kind=choose.choice(("k1", "k2")),
        index_keys=_index_keys(choose),
        fields={name: choose.choice(VALUES) for name in ("f", "g") if choose.choice((False, True))},
        body=choose.choice((b"", b"body")),
    )
    return Intent(write, _wish(choose, ABSENT, PRESENT), seconds)


def _patch(choose: random.Random, key: Key, seconds: int | None) -> Intent:
    body: bytes | Keep = choose.choice((KEEP, b"", b"body"))
    index_keys: Mapping[int, Key] | Keep = KEEP if choose.choice((True, False)) else _index_keys(choose)
    write = Patch(key=key, body=body, index_keys=index_keys, **_field_changes(choose))
    return Intent(write, _wish(choose, PRESENT), seconds)


def _field_changes(choose: random.Random) -> dict[str, Any]:
    """What a patch does to the fields ``f`` and ``g``, each in one part of the patch at most."""
    parts: dict[str, Any] = {"unset": frozenset(choose.choice(((), ("h",), ("f",))))}
    for name in sorted({"f", "g"} - parts["unset"]):
        part = choose.choice(("", "add", "set", "include", "exclude"))
        values: Mapping[str, Sequence[Any]] = {"add": AMOUNTS, "set": VALUES, "include": MEMBERS, "exclude": MEMBERS}
        if part:
            parts.setdefault(part, {})[name] = choose.choice(values[part])
    return parts


def _delete(choose: random.Random, key: Key, seconds: int | None) -> Intent:
    return Intent(Delete(key=key), _wish(choose, PRESENT, ABSENT))


def _check(choose: random.Random) -> Intent:
    return Intent(Check(key=choose.choice(KEYS)), _wish(choose, ABSENT, PRESENT))


def _wish(choose: random.Random, *conditions: Condition) -> Wish:
    """Mostly what can hold: any state, or the newest version."""
    likely = (Wish(ANY), Wish(ANY), Wish(ANY), Wish(None), Wish(None, 1))
    return choose.choice((*likely, *map(Wish, conditions)))


def _index_keys(choose: random.Random) -> dict[int, Key]:
    wanted = [slot for slot in SLOTS if choose.choice((False, True))]
    return {slot: Key(choose.choice(INDEX_PARTITIONS), choose.choice(NAMES)) for slot in wanted}


def _bounds(choose: random.Random) -> tuple[str | None, str | None]:
    low, high = _maybe(choose, NAMES), _maybe(choose, NAMES)
    return (high, low) if low is not None and high is not None and low > high else (low, high)


def _maybe(choose: random.Random, values: Sequence[T]) -> T | None:
    return None if choose.choice((True, False)) else choose.choice(values)


def _distinct(intents: Sequence[Intent]) -> tuple[Intent, ...]:
    """The intents without those whose key another has already."""
    return tuple({intent.write.key: intent for intent in intents}.values())
