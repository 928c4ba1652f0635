"""Where the data of a store is, and how much of it there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storycore.cli.output import escape, human_bytes, table

if TYPE_CHECKING:
    from rich.table import Table

    from storycore.app import Store

__all__ = ["Place", "places", "places_table"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a port keeps its data, and how much; ``size_bytes`` is ``None`` for what is not on disk here."""

    port: str
    adapter: str
    place: str
    size_bytes: int | None


def places(store: Store) -> list[Place]:
    """One line per port."""
    found = []
    for name, port in store.ports.items():
        info = port.info
        found.append(Place(str(name), info.adapter, info.place, _size(info.place)))
    return found


def places_table(found: Sequence[Place]) -> Table:
    """The places for people."""
    made = table("port", "adapter", "size", "place")
    for each in found:
        size = "" if each.size_bytes is None else human_bytes(each.size_bytes)
        made.add_row(each.port, each.adapter, size, escape(each.place or "in this process"))
    return made


def _size(place: str) -> int | None:
    """Bytes below a path, or of a file with its companions (``x.db-wal``); ``None`` for what is not on disk."""
    path = Path(place)
    if not place or not path.exists():
        return None
    files = path.rglob("*") if path.is_dir() else (path, *path.parent.glob(f"{path.name}-*"))
    return sum(_file_size(file) for file in files)


def _file_size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # gone between listing and looking
        return 0
