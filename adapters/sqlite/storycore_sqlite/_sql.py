"""The columns and the statements that more than one room uses."""

from __future__ import annotations

from functools import cache

from storycore.ports.entities import INDEX_SLOTS

__all__ = [
    "CHANGES",
    "INDEX_COLUMNS",
    "LIVE",
    "RECORD_COLUMNS",
    "REPLACE_CONTENT",
    "REPLACE_ITEM",
    "SLOTS",
    "TELL",
    "TELL_AT",
    "adding",
]

SLOTS = range(1, INDEX_SLOTS + 1)
INDEX_COLUMNS = tuple(f"g{slot}{part}" for slot in SLOTS for part in ("pk", "sk"))

_CONTENT = ("kind", "version", "expires_at", "index_keys", "fields", "body")
_TOLD = ("at", "action", "pk", "sk", "kind", "expires_at", "index_keys", "fields")

RECORD_COLUMNS = ", ".join(_CONTENT)
LIVE = "(expires_at IS NULL OR expires_at > ?)"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _settings(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)


REPLACE_ITEM = f"UPDATE storycore_items SET {_settings((*_CONTENT, *INDEX_COLUMNS))} WHERE id = ?"  # noqa: S608
REPLACE_CONTENT = f"UPDATE storycore_items SET {_settings(_CONTENT)} WHERE id = ?"  # noqa: S608


def _telling(*columns: str) -> str:
    version = "SELECT version FROM storycore_items WHERE id = ?"
    former = "SELECT body FROM storycore_items, storycore_state WHERE id = ? AND version > trimmed"
    return (
        f"INSERT INTO storycore_changes ({', '.join(columns)}, version, former) "  # noqa: S608 - columns and marks
        f"VALUES ({_marks(len(columns))}, ({version}), ({former}))"
    )


TELL = _telling(*_TOLD)
"""Tells the feed of a change, before it is made; the last two that it takes are the id of the row that it replaces or
removes, or ``None``. Python 3.12 would take numbered marks for names.

Nothing else writes into the feed, so that no body is lost: the change keeps the one that it replaces, for whoever reads
of the change that stored it. Where that one is trimmed, it keeps nothing.
"""

TELL_AT = _telling("seq", *_TOLD)
"""``TELL`` with the place in the feed first."""

CHANGES = """
    SELECT seq, at, action, told.pk, told.sk, told.kind, told.version, told.expires_at, told.index_keys, told.fields,
        CASE action WHEN 'put' THEN coalesce(
            told.body,
            stored.body,
            (SELECT former FROM storycore_changes WHERE version = told.seq AND former IS NOT NULL)
        ) END
    FROM storycore_changes AS told
    LEFT JOIN storycore_items AS stored ON (stored.pk, stored.sk, stored.version) = (told.pk, told.sk, told.seq)
"""
"""Changes, each with the body that it stored: in its own row, where layout 2 left it; in the record, while that is the
one that it stored; else in the change that replaced or removed the record."""


@cache
def adding(slots: tuple[int, ...]) -> str:
    """Adds a record that these indexes list. Naming the columns of all of them would cost a quarter more."""
    columns = ("pk", "sk", *_CONTENT, *(f"g{slot}{part}" for slot in slots for part in ("pk", "sk")))
    return f"INSERT INTO storycore_items ({', '.join(columns)}) VALUES ({_marks(len(columns))})"  # noqa: S608
