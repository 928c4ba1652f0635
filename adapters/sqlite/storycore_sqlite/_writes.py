"""Writes in the writer's transaction: judge each against the stored state, tell the feed, store the record."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from storycore.errors import InvalidArgument, StorycoreError
from storycore.ports.conditions import Version
from storycore.ports.drafts import quick_written
from storycore.ports.entities import KEEP, Action, Delete, FeedPosition, Patch, Put, Record, Write, Written
from storycore.ports.instants import micros
from storycore.ports.records import demand, patched, put_record, refusal, transaction_conflict
from storycore.ports.write_digest import write_digest
from storycore_sqlite._bulk import LEAST_PUTS, put_many
from storycore_sqlite._rows import change_of, index_columns, index_values, pack_fields, pack_index_keys, record_of
from storycore_sqlite._sql import (
    CHANGES,
    RECORD_COLUMNS,
    REPLACE_CONTENT,
    REPLACE_ITEM,
    TELL,
    adding,
)

__all__ = ["remove_expired", "write_all", "write_each", "write_once"]

_TOKEN_WINDOW = timedelta(minutes=10)

_FIND_HEAD = "SELECT id, version, expires_at, kind, index_keys FROM storycore_items WHERE pk = ? AND sk = ?"
_FIND_RECORD = f"SELECT {RECORD_COLUMNS} FROM storycore_items WHERE id = ?"  # noqa: S608
_FIND_EXPIRED = "SELECT id, pk, sk, kind FROM storycore_items WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"
_COUNT_EXPIRED = "SELECT count(*) FROM (SELECT 1 FROM storycore_items WHERE expires_at <= ? LIMIT ?)"
_REMOVE = "DELETE FROM storycore_items WHERE id = ?"
_NOTHING = (None, None, None, "", None)


class _Step(NamedTuple):
    """A write that may go on.

    Args:
        write: what was asked.
        row: the id of the stored row, live or expired; ``None`` where there is none.
        version: the live record's version; ``None`` where nothing live is stored.
        kind: the live record's kind.
        content: what is to be stored; its version is still to be issued. ``None``: nothing.
        keeps_index: whether the index keys stay as they are, so that no index is touched.
    """

    write: Write
    row: int | None
    version: Version | None
    kind: str
    content: Put | Record | None
    keeps_index: bool


def write_each(
    connection: sqlite3.Connection, writes: Sequence[Write], now: datetime
) -> list[Written | StorycoreError]:
    """Apply writes that stand each for itself; a refused one leaves its error in its place."""
    puts = [write for write in writes if isinstance(write, Put)]
    if len(puts) == len(writes) >= LEAST_PUTS:
        return put_many(connection, puts, now)
    outcomes: list[Written | StorycoreError] = []
    for write in writes:
        step = _judge(connection, write, now)
        outcomes.append(step if isinstance(step, StorycoreError) else _apply(connection, step, now))
    return outcomes


def write_all(connection: sqlite3.Connection, writes: Sequence[Write], now: datetime) -> list[Written]:
    """Apply all writes or, with ``TransactionConflict``, none."""
    judged = [_judge(connection, write, now) for write in writes]
    reasons = {i: step for i, step in enumerate(judged) if isinstance(step, StorycoreError)}
    if reasons:
        raise transaction_conflict(reasons)
    return [_apply(connection, step, now) for step in judged if isinstance(step, _Step)]


def write_once(connection: sqlite3.Connection, writes: Sequence[Write], token: str, now: datetime) -> list[Written]:
    """``write_all``, unless the token's first call has done it within 10 minutes."""
    digest = write_digest(writes)
    known = connection.execute(
        "SELECT digest, results, until FROM storycore_tokens WHERE token = ?", (token,)
    ).fetchone()
    if known is None or known[2] <= micros(now):
        results = write_all(connection, writes, now)
        kept = orjson.dumps([(result.version, result.created) for result in results]).decode()
        connection.execute(
            "INSERT OR REPLACE INTO storycore_tokens (token, digest, results, until) VALUES (?, ?, ?, ?)",
            (token, digest, kept, micros(now + _TOKEN_WINDOW)),
        )
        return results
    if known[0] != digest:
        raise InvalidArgument(f"The token {token!r} was used with other writes; take a new token.")
    return [
        Written(key=write.key, version=version, created=created, record=_told(connection, write, version))
        for write, (version, created) in zip(writes, orjson.loads(known[1]), strict=True)
    ]


def count_expired(connection: sqlite3.Connection, at: datetime, limit: int) -> int:
    """How many records ``remove_expired`` would remove."""
    [count] = connection.execute(_COUNT_EXPIRED, (micros(at), limit)).fetchone()
    return int(count)


def remove_expired(connection: sqlite3.Connection, at: datetime, now: datetime, limit: int) -> int:
    """Remove up to ``limit`` records that expired at or before ``at``, and tell the feed of each."""
    rows = connection.execute(_FIND_EXPIRED, (micros(at), limit)).fetchall()
    for row, pk, sk, kind in rows:
        _remove(connection, row, (micros(now), Action.EXPIRE.value, pk, sk, kind))
    return len(rows)


def _judge(connection: sqlite3.Connection, write: Write, now: datetime) -> _Step | StorycoreError:
    """What a write will do, or why it must not."""
    key = write.key
    row, version, expires_at, kind, index_keys = connection.execute(_FIND_HEAD, (key.pk, key.sk)).fetchone() or _NOTHING
    live = version if expires_at is None or expires_at > micros(now) else None
    error = refusal(key, live, demand(write))
    if error is not None:
        return error
    if isinstance(write, Put):
        return _Step(write, row, live, kind, write, index_keys == pack_index_keys(write.index_keys))
    if isinstance(write, Patch):
        return _judge_patch(connection, _Step(write, row, live, kind, None, write.index_keys is KEEP), write)
    return _Step(write, row, live, kind, None, True)


def _judge_patch(connection: sqlite3.Connection, step: _Step, patch: Patch) -> _Step | StorycoreError:
    stored = record_of(patch.key, connection.execute(_FIND_RECORD, (step.row,)).fetchone())
    try:
        return step._replace(content=patched(stored, patch, stored.version))
    except InvalidArgument as exc:
        return exc


def _apply(connection: sqlite3.Connection, step: _Step, now: datetime) -> Written:
    key = step.write.key
    if step.content is not None:
        return _store(connection, step, step.content, now)
    if isinstance(step.write, Delete) and step.version is not None:
        _remove(connection, step.row, (micros(now), Action.DELETE.value, key.pk, key.sk, step.kind))
    return quick_written(key, step.version, False, None)


def _remove(connection: sqlite3.Connection, row: int | None, told: tuple[int, str, str, str, str]) -> None:
    connection.execute(TELL, (*told, None, None, None, row, row))
    connection.execute(_REMOVE, (row,))


def _store(connection: sqlite3.Connection, step: _Step, content: Put | Record, now: datetime) -> Written:
    key = content.key
    expires_at = None if content.expires_at is None else micros(content.expires_at)
    fields = pack_fields(content.fields)
    index_keys = pack_index_keys(content.index_keys)
    kept = (expires_at, index_keys, fields)
    told = (micros(now), Action.PUT.value, key.pk, key.sk, content.kind, *kept, step.row, step.row)
    version = Version(connection.execute(TELL, told).lastrowid or 0)
    stored = (content.kind, version, *kept, content.body)
    if step.row is None:
        statement = adding(tuple(sorted(content.index_keys)))
        connection.execute(statement, (key.pk, key.sk, *stored, *index_values(content.index_keys)))
    elif step.keeps_index:
        connection.execute(REPLACE_CONTENT, (*stored, step.row))
    else:
        connection.execute(REPLACE_ITEM, (*stored, *index_columns(content.index_keys), step.row))
    record = put_record(content, version) if isinstance(content, Put) else replace(content, version=version)
    return quick_written(key, version, step.version is None, record)


def _told(connection: sqlite3.Connection, write: Write, version: Version) -> Record | None:
    """The record that an earlier put or patch stored, as the feed tells it."""
    if not isinstance(write, Put | Patch):
        return None
    row = connection.execute(f"{CHANGES} WHERE seq = ?", (version,)).fetchone()
    return change_of(row, position=FeedPosition("")).record
