"""The deep health of a folder: every blob is read and compared with its hash."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

from storycore.errors import Corrupt, NotFound
from storycore.ports.lifecycle import Health
from storycore_files._faults import translating
from storycore_files._folder import Folder
from storycore_files._threads import Threads
from storycore_files._walk import Walk

__all__ = ["audit"]

_BATCH: Final = 500
_SHOWN: Final = 5


async def audit(folder: Folder, threads: Threads) -> Health:
    """Read all blobs, one at a time; damaged ones are named."""
    count = size_bytes = 0
    damaged: list[str] = []
    after: bytes | None = None
    while keys := await threads.run(partial(_keys, folder, after)):
        after = keys[-1]
        for key in keys:
            try:
                info = await threads.run(partial(folder.check, key.decode()))
            except NotFound:  # deleted since it was listed
                continue
            except Corrupt:
                damaged.append(key.decode())
                continue
            count, size_bytes = count + 1, size_bytes + info.size_bytes
    return _found(damaged, {"blobs": count, "bytes": size_bytes, "damaged": len(damaged)})


def _keys(folder: Folder, after: bytes | None) -> list[bytes]:
    with translating(f"list the blobs in {folder.root}"):
        return [place.key for place in islice(Walk(folder.blobs, after=after), _BATCH)]


def _found(damaged: list[str], facts: dict[str, int]) -> Health:
    if not damaged:
        return Health(ok=True, detail="All blobs match their hashes.", facts=facts)
    names = ", ".join(map(repr, damaged[:_SHOWN])) + (", …" if len(damaged) > _SHOWN else "")
    return Health(ok=False, detail=f"Damaged blobs: {names}. Restore them from a backup.", facts=facts)
