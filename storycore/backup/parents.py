"""Parents: on which backup the next one builds, or why it has to be a full one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from storycore.backup.archive import Archive
from storycore.backup.erasures import erasures
from storycore.backup.manifest import Manifest
from storycore.backup.seals import Unread, worst
from storycore.errors import AccessDenied, Corrupt, NotFound, SchemaMismatch
from storycore.layers.spilled_bodies import in_parallel

__all__ = ["others_among", "parent_among"]

_UNDER_WAY = timedelta(hours=1)
"""A backup of which nothing has been written for so long is not under way any more."""


async def parent_among(
    archive: Archive,
    newest: Manifest | None,
    unread: Unread,
    ports: set[str],
    *,
    now: datetime,
    max_chain: int,
    max_share: float,
    seals_owners: bool = False,
) -> tuple[Sequence[Manifest], str]:
    """The chain of the newest backup, where an increment over it is possible and worth it; else none, and why not.

    Args:
        newest: of the store's backups whose manifests bear their seals.
        unread: what claims to be newer, and bears none.
        ports: the names of the ports that are backed up.
        now: the present.
        max_chain: how many increments may follow a full one.
        max_share: how large they may be together, as a share of the full one.
        seals_owners: whether what belongs to somebody is sealed with a key of his own.
    """
    if newest is None:
        return (), worst(unread)[1].message if unread else "it is the first one"
    try:
        chain = await archive.chain(newest.id)
    except (AccessDenied, Corrupt, NotFound, SchemaMismatch) as exc:
        return (), exc.message
    first, increments, last = chain[0], chain[1:], chain[-1]
    if now < last.as_of:
        return (), (
            f"the clock says {now:%Y-%m-%d %H:%M:%S}, and the backup {last.id} is of a later moment; until the clock "
            "has passed that, it counts as the latest one"
        )
    if ports != set(last.ports):
        return (), f"the backup {last.id} holds other ports"
    if seals_owners and (without := next((each.id for each in chain if each.owners is None), "")):
        return (), f"the backup {without} was made without keys of owners"
    if why := await _erased_since(archive, chain) if seals_owners else "":
        return (), why
    if len(increments) >= max_chain:
        return (), f"{len(increments)} increments follow each other"
    if sum(each.size_bytes for each in increments) > max_share * max(first.size_bytes, 1):
        return (), f"the increments since {first.id} have grown large"
    damage = await _damage(archive, chain)
    return ((), damage) if damage else (chain, "")


async def others_among(archive: Archive, *, now: datetime) -> str:
    """That another backup may be under way; both come to be, for each has objects of its own. ``""``: none is."""
    begun = await archive.unfinished(since=now - _UNDER_WAY)
    if not begun:
        return ""
    return f"Another backup was begun lately and has not ended: {', '.join(begun)}. If it runs, both are kept."


async def _erased_since(archive: Archive, chain: Sequence[Manifest]) -> str:
    """Whether somebody was of whom it is not known who: what the chain holds of him would be missed."""
    try:
        noted = await erasures(archive)
    except Corrupt as exc:
        return exc.message
    if noted is None or noted.tells_all_of(chain) or not noted.is_behind(chain[-1]):
        return ""
    return f"somebody was erased since the backup {chain[0].id} was begun, and it was not noted who"


async def _damage(archive: Archive, chain: Sequence[Manifest]) -> str:
    for manifest in chain:
        found = await in_parallel(partial(archive.damage, manifest.id), manifest.objects)
        if damaged := [info.name for info, damage in zip(manifest.objects, found, strict=True) if damage]:
            return f"the object {damaged[0]} of the backup {manifest.id} is damaged"
    return ""
