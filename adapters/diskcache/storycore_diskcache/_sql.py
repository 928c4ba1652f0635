"""The rows of diskcache's table as storycore uses them.

Keys are bytes: ``v`` + key for a value, ``l`` + key for a lease, ``c`` + name for a counter, ``m`` + name for a mark.
``tag`` holds the expiry of values and leases in microseconds since 1970, so that diskcache's own clock never decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

__all__ = [
    "COUNTER",
    "LEASE",
    "MARK",
    "VALUE",
    "after_prefix",
    "delete",
    "delete_dead",
    "delete_foreign",
    "delete_range",
    "integrity",
    "live_count",
    "live_keys",
    "oldest_values",
    "present",
    "put_rows",
    "rows",
    "set_expiry",
]

VALUE: Final = b"v"
LEASE: Final = b"l"
COUNTER: Final = b"c"
MARK: Final = b"m"

_AT_ONCE: Final = 500
_OWN: Final = "raw = 1 AND mode IN (1, 2)"
_LIVE: Final = f"{_OWN} AND typeof(tag) = 'integer' AND tag > ?"

Row = tuple[bytes, Any, Any, Any, Any]
"""key, tag, mode, filename, value: as found, to be checked."""


def rows(sql: Any, keys: Sequence[bytes]) -> Iterator[Row]:
    """The rows of these keys, whoever wrote them."""
    for some in _chunks(keys):
        yield from sql(
            f"SELECT key, tag, mode, filename, value FROM Cache WHERE raw = 1 AND key IN ({_marks(some)})",  # noqa: S608
            some,
        ).fetchall()


def live_keys(sql: Any, low: bytes, high: bytes, behind: bytes, now: int, limit: int) -> list[bytes]:
    """Keys from ``low`` on and behind ``behind``, below ``high``, ascending."""
    found = sql(
        f"SELECT key FROM Cache WHERE key >= ? AND key > ? AND key < ? AND {_LIVE} ORDER BY key LIMIT ?",  # noqa: S608
        (low, behind, high, now, limit),
    )
    return [key for (key,) in found.fetchall()]


def live_count(sql: Any, low: bytes, high: bytes, now: int) -> int:
    """How many live rows there are from ``low`` on, below ``high``."""
    ((count,),) = sql(
        f"SELECT COUNT(*) FROM Cache WHERE key >= ? AND key < ? AND {_LIVE}",  # noqa: S608
        (low, high, now),
    ).fetchall()
    return int(count)


def present(sql: Any, keys: Sequence[bytes]) -> dict[bytes, str | None]:
    """Which of these keys have a row, and the row's file, if it has one."""
    found: dict[bytes, str | None] = {}
    for some in _chunks(keys):
        found.update(sql(f"SELECT key, filename FROM Cache WHERE raw = 1 AND key IN ({_marks(some)})", some))  # noqa: S608
    return found


def put_rows(connection: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows, each in the place of the one with its key, as diskcache would.

    Args:
        rows: key, when it was stored, when it was read, tag, size, mode, filename, value.
    """
    connection.executemany(
        "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, tag, size, mode, filename, value)"
        " VALUES (?, 1, ?, NULL, ?, ?, ?, ?, ?, ?) ON CONFLICT (key, raw) DO UPDATE SET"
        " store_time = excluded.store_time, expire_time = NULL, access_time = excluded.access_time, access_count = 0,"
        " tag = excluded.tag, size = excluded.size, mode = excluded.mode, filename = excluded.filename,"
        " value = excluded.value",
        rows,
    )


def set_expiry(sql: Any, key: bytes, now: int, until: int) -> bool:
    """Give a live row a new expiry; whether there was one."""
    return bool(sql(f"UPDATE Cache SET tag = ? WHERE key = ? AND {_LIVE}", (until, key, now)).rowcount)  # noqa: S608


def delete(sql: Any, keys: Sequence[bytes]) -> list[str]:
    """Delete the rows of these keys; the files to remove after the commit."""
    files: list[str] = []
    for some in _chunks(keys):
        files += _delete(sql, f"raw = 1 AND key IN ({_marks(some)})", some)
    return files


def delete_range(sql: Any, low: bytes, high: bytes) -> list[str]:
    """Delete the rows from ``low`` on, below ``high``; the files to remove after the commit."""
    return _delete(sql, "key >= ? AND key < ?", (low, high))


def delete_dead(sql: Any, now: int, limit: int) -> list[str]:
    """Delete some rows that have expired; the files to remove after the commit."""
    dead = "rowid IN (SELECT rowid FROM Cache WHERE typeof(tag) = 'integer' AND tag <= ? LIMIT ?)"
    return _delete(sql, dead, (now, limit))


def delete_foreign(sql: Any) -> list[str]:
    """Delete all rows that storycore does not write; the files to remove after the commit."""
    return _delete(sql, f"NOT (typeof(key) = 'blob' AND {_OWN})", ())


def oldest_values(sql: Any, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, int]]:
    """Keys and bytes of the values that were stored longest ago."""
    found = sql(
        "SELECT key, size + COALESCE(LENGTH(value), 0) + LENGTH(key) FROM Cache INDEXED BY Cache_store_time"
        " WHERE key >= ? AND key < ? ORDER BY store_time LIMIT ?",
        (low, high, limit),
    )
    return [(key, int(size)) for key, size in found.fetchall()]


def integrity(sql: Any) -> str:
    """SQLite's own verdict: ``"ok"``, or what is wrong first."""
    return str(sql("PRAGMA integrity_check(1)").fetchone()[0])


def after_prefix(prefix: bytes) -> bytes:
    """The first key after all that begin with ``prefix``, which is UTF-8 and so never ends in 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _delete(sql: Any, where: str, values: Sequence[object]) -> list[str]:
    gone = _files(sql, where, values)
    sql(f"DELETE FROM Cache WHERE {where}", values)  # noqa: S608
    return gone


def _files(sql: Any, where: str, values: Sequence[object]) -> list[str]:
    found = sql(f"SELECT filename FROM Cache WHERE filename IS NOT NULL AND {where}", values).fetchall()  # noqa: S608
    return [name for (name,) in found]


def _chunks(keys: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))


def _marks(keys: Sequence[bytes]) -> str:
    return ",".join("?" * len(keys))
