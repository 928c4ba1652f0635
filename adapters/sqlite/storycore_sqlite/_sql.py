"""The columns and the statements that more than one room uses."""

from __future__ import annotations

from functools import cache

from storycore.ports.entities import INDEX_SLOTS

__all__ = [
    "CHANGE_COLUMNS",
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
_FEED = ("at", "action", "pk", "sk", *_CONTENT)

RECORD_COLUMNS = ", ".join(_CONTENT)
CHANGE_COLUMNS = ", ".join(("seq", *_FEED))
LIVE = "(expires_at IS NULL OR expires_at > ?)"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _settings(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)


REPLACE_ITEM = f"UPDATE storycore_items SET {_settings((*_CONTENT, *INDEX_COLUMNS))} WHERE id = ?"  # noqa: S608
REPLACE_CONTENT = f"UPDATE storycore_items SET {_settings(_CONTENT)} WHERE id = ?"  # noqa: S608
TELL = f"INSERT INTO storycore_feed ({', '.join(_FEED)}) VALUES ({_marks(len(_FEED))})"  # noqa: S608
TELL_AT = f"INSERT INTO storycore_feed ({', '.join(('seq', *_FEED))}) VALUES ({_marks(len(_FEED) + 1)})"  # noqa: S608


@cache
def adding(slots: tuple[int, ...]) -> str:
    """Adds a record that these indexes list. Naming the columns of all of them would cost a quarter more."""
    columns = ("pk", "sk", *_CONTENT, *(f"g{slot}{part}" for slot in slots for part in ("pk", "sk")))
    return f"INSERT INTO storycore_items ({', '.join(columns)}) VALUES ({_marks(len(columns))})"  # noqa: S608
