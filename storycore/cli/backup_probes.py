"""What ``storycore doctor`` looks at where a profile has backups: place and key, and how fresh and sure they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from storycore.cli.findings import Finding, State
from storycore.errors import NotFound, StorycoreError

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.backup.archive import Listing
    from storycore.backup.manifest import Manifest

__all__ = ["backup_findings"]

_STALE = timedelta(days=2)
"""Backups are daily by default, and one that failed is made the next day."""
_AHEAD = timedelta(hours=1)
_MAKE = "`storycore backup create` makes one; `storycore jobs run` makes one each day."
_ELSEWHERE = "Name another disk, account or provider in backup.blobs."


async def backup_findings(store: Store) -> list[Finding]:
    """What is to be said of a store's backups; nothing where its profile says nothing of them. Nothing is written."""
    if not store.profile.has_backups:
        return []
    try:
        listing = await store.backups.list()
        latest = await _latest(store)
        proven = None if latest is None else await store.backups.proven()
    except StorycoreError as exc:
        return [Finding("backup", State.FAILED, exc.message, getattr(exc, "cure", ""))]
    found = [_fresh(latest, store.env.clock.now()), *_damaged(listing)]
    if latest is not None:
        found.append(_sure(proven))
    if store.profile.backup.blobs is None:
        found.append(
            Finding("backup.place", State.WARNING, "Backups lie beside the data they are made from", _ELSEWHERE)
        )
    return found


async def _latest(store: Store) -> Manifest | None:
    """The newest backup, which the key opens."""
    try:
        return await store.backups.show()
    except NotFound:
        return None


def _fresh(latest: Manifest | None, now: datetime) -> Finding:
    if latest is None:
        return Finding("backup", State.WARNING, "There is no backup yet", _MAKE)
    text = f"the latest backup is of {latest.as_of:%Y-%m-%d %H:%M} UTC"
    if latest.as_of - now > _AHEAD:
        cure = "Look at the clock: until it has passed that, this backup counts as the latest, and new ones are full."
        return Finding("backup", State.WARNING, f"{text}, and the clock says {now:%Y-%m-%d %H:%M}", cure)
    return Finding("backup", State.WARNING, text, _MAKE) if now - latest.as_of > _STALE else _ok("backup", text)


def _damaged(listing: Listing) -> Iterator[Finding]:
    for id_, why in listing.damaged.items():
        state = State.WARNING if id_ in listing.newer else State.FAILED
        yield Finding("backup.manifest", state, f"{id_}: {why}")


def _sure(proven: Manifest | None) -> Finding:
    """Whether any was read to its end, and found whole."""
    if proven is not None:
        return _ok("backup.verified", f"{proven.id} was read to its end and is whole")
    cure = "`storycore backup verify` does it; the job backup.verify does it each day."
    return Finding("backup.verified", State.WARNING, "No backup was read to its end and found whole", cure)


def _ok(check: str, detail: str) -> Finding:
    return Finding(check, State.OK, detail)
