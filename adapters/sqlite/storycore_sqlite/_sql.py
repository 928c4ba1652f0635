"""The columns and the statements that more than one room uses."""

from __future__ import annotations

from storycore.ports.entities import INDEX_SLOTS

__all__ = [
    "ADD_ITEM",
    "CHANGE_COLUMNS",
    "INDEX_COLUMNS",
    "LIVE",
    "RECORD_COLUMNS",
    "REPLACE_CONTENT",
    "REPLACE_ITEM",
    "SLOTS",
    "TELL",
]

SLOTS = range(1, INDEX_SLOTS + 1)
INDEX_COLUMNS = tuple(f"g{slot}{part}" for slot in SLOTS for part in ("pk", "sk"))

_CONTENT = ("kind", "version", "expires_at", "index_keys", "fields", "body")
_ITEM = ("pk", "sk", *_CONTENT, *INDEX_COLUMNS)
_FEED = ("at", "action", "pk", "sk", *_CONTENT)

RECORD_COLUMNS = ", ".join(_CONTENT)
CHANGE_COLUMNS = ", ".join(("seq", *_FEED))
LIVE = "(expires_at IS NULL OR expires_at > ?)"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _settings(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)


ADD_ITEM = f"INSERT INTO storycore_items ({', '.join(_ITEM)}) VALUES ({_marks(len(_ITEM))})"  # noqa: S608
REPLACE_ITEM = f"UPDATE storycore_items SET {_settings((*_CONTENT, *INDEX_COLUMNS))} WHERE id = ?"  # noqa: S608
REPLACE_CONTENT = f"UPDATE storycore_items SET {_settings(_CONTENT)} WHERE id = ?"  # noqa: S608
TELL = f"INSERT INTO storycore_feed ({', '.join(_FEED)}) VALUES ({_marks(len(_FEED))})"  # noqa: S608
