"""The deep health of a bucket: every blob is read and compared with its hash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from storycore.errors import Corrupt, NotFound
from storycore.ports.blobs import BlobInfo, BlobReader
from storycore.ports.lifecycle import Health
from storycore_s3._listing import page_of
from storycore_s3._objects import Objects

__all__ = ["audit"]

_BATCH: Final = 200
_AT_ONCE: Final = 4
_SHOWN: Final = 5


async def audit(objects: Objects, get: Callable[[str], Awaitable[BlobReader]]) -> Health:
    """Read all blobs, a few at a time; damaged ones are named."""
    facts = {"blobs": 0, "bytes": 0, "damaged": 0}
    damaged: list[str] = []
    free = asyncio.Semaphore(_AT_ONCE)
    after: str | None = None
    while True:
        page = await page_of(objects, "", None, after, _BATCH)
        sound = await asyncio.gather(*(_is_sound(info, get, free) for info in page.blobs))
        damaged += [info.key for info, is_sound in zip(page.blobs, sound, strict=True) if not is_sound]
        facts["blobs"] += len(page.blobs)
        facts["bytes"] += sum(info.size_bytes for info in page.blobs)
        if (after := page.next) is None:
            return _found(damaged, {**facts, "damaged": len(damaged)})


async def _is_sound(info: BlobInfo, get: Callable[[str], Awaitable[BlobReader]], free: asyncio.Semaphore) -> bool:
    async with free:
        try:
            async with await get(info.key) as reader:
                async for _ in reader:
                    pass
        except NotFound:  # deleted since it was listed
            return True
        except Corrupt:
            return False
        return True


def _found(damaged: list[str], facts: dict[str, int]) -> Health:
    if not damaged:
        return Health(ok=True, detail="All blobs match their hashes.", facts=facts)
    names = ", ".join(map(repr, damaged[:_SHOWN])) + (", …" if len(damaged) > _SHOWN else "")
    return Health(ok=False, detail=f"Damaged blobs: {names}. Restore them from a backup.", facts=facts)
