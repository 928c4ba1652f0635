"""One data layer for Python applications: entities, cache, vectors, blobs and events behind small ports.

``storycore.open(profile)`` gives a store, ``storycore.open_sync(profile)`` the same without ``await``. Importing this
package does no I/O and imports no vendor library; the names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.building import InitReport
    from storycore.entities import Index, Key, Repository, Sharded, SoftDelete, Unique, Unit, entity, part
    from storycore.errors import StorycoreError
    from storycore.filters import F
    from storycore.opening import Opening, open, open_sync  # noqa: A004 - storycore.open is the name
    from storycore.profiles import Profile
    from storycore.sync import SyncStore

__version__ = "0.1.0"

__all__ = [
    "F",
    "Index",
    "InitReport",
    "Key",
    "Opening",
    "Profile",
    "Repository",
    "Sharded",
    "SoftDelete",
    "Store",
    "StorycoreError",
    "SyncStore",
    "Unique",
    "Unit",
    "__version__",
    "entity",
    "open",
    "open_sync",
    "part",
]

_HOMES = {
    "F": "storycore.filters",
    "Index": "storycore.entities",
    "InitReport": "storycore.building",
    "Key": "storycore.entities",
    "Opening": "storycore.opening",
    "Profile": "storycore.profiles",
    "Repository": "storycore.entities",
    "Sharded": "storycore.entities",
    "SoftDelete": "storycore.entities",
    "Store": "storycore.app",
    "StorycoreError": "storycore.errors",
    "SyncStore": "storycore.sync",
    "Unique": "storycore.entities",
    "Unit": "storycore.entities",
    "entity": "storycore.entities",
    "open": "storycore.opening",
    "open_sync": "storycore.opening",
    "part": "storycore.entities",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'storycore' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
