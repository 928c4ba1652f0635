"""Where the data of a store is, and how much of it there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storycore.cli.demonstration.outcome import Place

if TYPE_CHECKING:
    from storycore.app import Store

__all__ = ["places"]


def places(store: Store) -> list[Place]:
    """One line per port."""
    found = []
    for name, port in store.ports.items():
        info = port.info
        found.append(Place(str(name), info.adapter, info.place, _size(info.place)))
    return found


def _size(place: str) -> int | None:
    """Bytes below a path, or of a file with what lies beside it under its name; ``None`` for what is not on disk."""
    path = Path(place)
    if not place or not path.exists():
        return None
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())
