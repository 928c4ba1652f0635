"""Reads: one record, a page of a partition, a page of a segment, a page of the feed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime

from storycore.errors import FeedGap, InvalidArgument
from storycore.ports.drafts import quick_key
from storycore.ports.entities import (
    ChangePage,
    FeedPosition,
    Key,
    Position,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
)
from storycore.ports.environment import Clock
from storycore.ports.instants import micros
from storycore_sqlite._rows import Row, change_of, record_of
from storycore_sqlite._sql import CHANGES, LIVE, RECORD_COLUMNS

__all__ = ["explain_query", "find", "find_all", "read_changes", "read_end", "read_query", "read_segment", "snapshot"]

_PAGE_BYTES = 8 * 1024 * 1024
"""A page ends early when its bodies and fields are larger than this, so that no page fills the memory."""

_ROWS = 32
"""Rows that are fetched together at most; fewer where those before them were large."""

_MOST_DIGITS = 19
"""Of a place in the feed, which SQLite keeps in 64 bits."""

_FIND = f"SELECT {RECORD_COLUMNS} FROM storycore_items WHERE pk = ? AND sk = ?"  # noqa: S608
_CHANGES_BEHIND = f"{CHANGES} WHERE seq > ? ORDER BY seq LIMIT ?"
_WITHOUT_BODY = RECORD_COLUMNS.replace("body", "x''")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the block's statements see one state; inside a transaction they do so anyway."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def find(connection: sqlite3.Connection | sqlite3.Cursor, key: Key, clock: Clock) -> Record | None:
    """The live record under ``key``."""
    row = connection.execute(_FIND, (key.pk, key.sk)).fetchone()
    if row is None:
        return None
    record = record_of(key, row)
    return record if record.expires_at is None or record.expires_at > clock.now() else None


def find_all(connection: sqlite3.Connection, keys: Iterable[Key], clock: Clock) -> list[Record | None]:
    """The live records under ``keys``, as one snapshot."""
    with snapshot(connection):
        return [find(connection, key, clock) for key in keys]


def read_query(connection: sqlite3.Connection, plan: QueryPlan, now: datetime) -> RecordPage:
    """One page of a partition of the table or of an index."""
    sql, arguments = _query(plan, now)
    return _page(connection.execute(sql, arguments), plan.limit, plan.slot)


def explain_query(connection: sqlite3.Connection, plan: QueryPlan, now: datetime) -> dict[str, object]:
    """The statement of a query, its arguments, and the steps in which SQLite will run it."""
    sql, arguments = _query(plan, now)
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]
    return {"sql": sql, "arguments": list(arguments), "steps": steps}


def read_segment(
    connection: sqlite3.Connection, segment: Segment, after: Position | None, limit: int, now: datetime
) -> RecordPage:
    """One page of a segment of the whole table, in the order of keys."""
    where = [LIVE]
    arguments: list[str | int] = [micros(now)]
    if after is not None:
        where.append("(pk, sk) > (?, ?)")
        arguments += [after.key.pk, after.key.sk]
    if segment.of > 1:
        where.append("storycore_segment(pk, sk) % ? = ?")
        arguments += [segment.of, segment.index]
    condition = " AND ".join(where)
    sql = f"SELECT pk, sk, {RECORD_COLUMNS} FROM storycore_items WHERE {condition} ORDER BY pk, sk LIMIT ?"  # noqa: S608
    return _page(connection.execute(sql, (*arguments, limit + 1)), limit, None)


def read_changes(connection: sqlite3.Connection, after: FeedPosition | None, limit: int) -> ChangePage:
    """One page of the feed, as one snapshot."""
    with snapshot(connection):
        feed, trimmed = connection.execute("SELECT feed, trimmed FROM storycore_state").fetchone()
        start = trimmed if after is None else _place(connection, after, feed)
        if start < trimmed:
            raise FeedGap(f"Changes behind {after!r} are no longer kept; start again from a full scan.")
        rows = _until_full(connection.execute(_CHANGES_BEHIND, (start, limit)))
        place = rows[-1][0] if rows else start
        more = connection.execute("SELECT 1 FROM storycore_changes WHERE seq > ? LIMIT 1", (place,)).fetchone()
    changes = tuple(change_of(row, position=FeedPosition(f"{feed}.{row[0]}")) for row in rows)
    return ChangePage(changes, FeedPosition(f"{feed}.{place}"), is_end=more is None)


def read_end(connection: sqlite3.Connection) -> FeedPosition:
    """The place behind the feed's last change."""
    with snapshot(connection):
        feed, trimmed = connection.execute("SELECT feed, trimmed FROM storycore_state").fetchone()
        return FeedPosition(f"{feed}.{max(trimmed, _head(connection))}")


def _head(connection: sqlite3.Connection) -> int:
    """The last place of the feed that was ever taken."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'storycore_changes'").fetchone()
    head: int = 0 if found is None else found[0]
    return head


def _place(connection: sqlite3.Connection, position: FeedPosition, feed: str) -> int:
    owner, _, digits = position.rpartition(".")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    if owner == feed and is_number and int(digits) <= _head(connection):
        return int(digits)
    raise InvalidArgument(f"{position!r} is not a position of this feed; take one that changes() returned.")


def _query(plan: QueryPlan, now: datetime) -> tuple[str, tuple[str | int, ...]]:
    columns = RECORD_COLUMNS if plan.bodies else _WITHOUT_BODY
    where, arguments = _range(plan)
    order = _order(plan.slot, reverse=plan.reverse)
    sql = f"SELECT pk, sk, {columns} FROM storycore_items WHERE {where} AND {LIVE} ORDER BY {order} LIMIT ?"  # noqa: S608
    return sql, (*arguments, micros(now), plan.limit + 1)


def _range(plan: QueryPlan) -> tuple[str, list[str]]:
    """The rows of the partition within the bounds and behind ``after``, as a condition with its arguments."""
    pk, sk = ("pk", "sk") if plan.slot is None else (f"g{plan.slot}pk", f"g{plan.slot}sk")
    place = () if plan.after is None else _sort_place(plan.after)
    where, arguments = [f"{pk} = ?"], [plan.pk]
    if plan.low is not None and not (place and not plan.reverse and place[0] >= plan.low):
        where.append(f"{sk} >= ?")
        arguments.append(plan.low)
    if plan.high is not None and not (place and plan.reverse and place[0] < plan.high):
        where.append(f"{sk} < ?")
        arguments.append(plan.high)
    if place:
        columns, marks = (sk, "?") if plan.slot is None else (f"({sk}, pk, sk)", "(?, ?, ?)")
        where.append(f"{columns} {'<' if plan.reverse else '>'} {marks}")
        arguments += place
    return " AND ".join(where), arguments


def _sort_place(after: Position) -> tuple[str, ...]:
    if after.index_key is None:
        return (after.key.sk,)
    return (after.index_key.sk, after.key.pk, after.key.sk)


def _order(slot: int | None, *, reverse: bool) -> str:
    columns = ("sk",) if slot is None else (f"g{slot}sk", "pk", "sk")
    return ", ".join(f"{column} DESC" if reverse else column for column in columns)


def _until_full(cursor: sqlite3.Cursor) -> list[Row]:
    """The cursor's rows, or as many as a page holds."""
    rows: list[Row] = []
    size = 0
    with closing(cursor):
        for row in cursor:
            rows.append(row)
            size += _size(row)
            if size > _PAGE_BYTES:
                break
    return rows


def _size(row: Row) -> int:
    """What a row whose last columns are those of a record takes, near enough."""
    return len(row[-1] or b"") + len(row[-2] or "")


def _page(cursor: sqlite3.Cursor, limit: int, slot: int | None) -> RecordPage:
    rows: list[Row] = []
    size, count = 0, 1
    with closing(cursor):
        while size <= _PAGE_BYTES and (more := cursor.fetchmany(count)):
            rows += more
            size += sum(map(_size, more))
            left = (_PAGE_BYTES - size) * len(rows) // max(size, 1)
            count = max(1, min(_ROWS, left))
    records = [record_of(quick_key(row[0], row[1]), row[2:]) for row in rows[:limit]]
    is_all = len(rows) <= limit and size <= _PAGE_BYTES
    return RecordPage(tuple(records), None if is_all else _position(records, slot))


def _position(records: Sequence[Record], slot: int | None) -> Position:
    last = records[-1]
    return Position(last.key, None if slot is None else last.index_keys[slot])
