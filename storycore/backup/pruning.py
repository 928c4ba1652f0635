"""Pruning: what retention does not keep is removed, and nothing on which another backup builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, tzinfo

from storycore.backup.archive import Archive, Listing
from storycore.backup.manifest import Manifest
from storycore.backup.outcomes import Pruned
from storycore.backup.proofs import made_of
from storycore.backup.recordings import Recordings
from storycore.backup.refusals import Refusals
from storycore.backup.removal import remove
from storycore.backup.retention import Kept, Retention, kept
from storycore.backup.seals import Unread
from storycore.backup.states import States
from storycore.errors import AccessDenied, Corrupt, NotFound, SchemaMismatch, Unavailable
from storycore.layers.spilled_bodies import in_parallel

__all__ = ["prune"]

_TRIES = 5


async def prune(
    archive: Archive,
    states: States,
    recordings: Recordings,
    rules: Retention,
    *,
    zone: tzinfo,
    older_than: timedelta,
    dry_run: bool = False,
) -> Pruned:
    """See ``Backups.prune``."""
    gone, refusals = list[str](), Refusals()
    for _ in range(_TRIES):
        known = await archive.committed()
        listing = await archive.listing()
        manifests, unread = await states.sealed(listing)
        stays = await _stays(archive, listing, manifests, unread, rules, zone)
        going = [each for each in manifests if each.id not in stays]
        if dry_run or await remove(archive, going, known, gone, refusals):
            break
    else:
        raise Unavailable("Backups come to be all the time while others are pruned; prune again later.")
    swept = await archive.sweep(older_than=older_than, dry_run=dry_run, refusals=refusals)
    removed = [each.id for each in going] if dry_run else gone
    left = [each.as_of for each in manifests if each.id not in removed]
    segments = await recordings.prune(min(left), refusals, dry_run=dry_run) if left else 0
    told = {id_: why.message for id_, why in unread.items()}
    return Pruned(stays, removed, swept, segments, told, refusals.reasons)


async def _stays(
    archive: Archive, listing: Listing, manifests: Sequence[Manifest], unread: Unread, rules: Retention, zone: tzinfo
) -> Kept:
    """What retention keeps, what is locked, and what those build on that do not open now: their keys may come back."""
    if newer := [id_ for id_ in listing.newer if await _is_newer(archive, id_)]:
        raise SchemaMismatch(
            f"A newer version of storycore made {', '.join(newer)}, and this one does not know on what they "
            "build; prune with the newer version."
        )
    wanted = {each.parent for each in listing.manifests if each.id in unread}
    pins = dict.fromkeys((id_ for id_ in wanted if id_), "on it builds what does not open")
    made = await in_parallel(lambda each: made_of(archive, each, pin=pins.get(each.id, "")), manifests)
    stays = kept(made, rules, zone=zone)
    going = [each for each in manifests if each.id not in stays]
    locks = dict(zip((each.id for each in going), await in_parallel(archive.locked_until, going), strict=True))
    if not any(locks.values()):
        return stays
    locked = {id_: f"locked until {until:%Y-%m-%dT%H:%M:%SZ}" for id_, until in locks.items() if until}
    return kept([replace(each, pin=locked.get(each.id, each.pin)) for each in made], rules, zone=zone)


async def _is_newer(archive: Archive, id_: str) -> bool:
    """Whether a newer version made a backup indeed: its manifest bears the seal that all versions make alike."""
    try:
        await archive.manifest(id_)
    except SchemaMismatch:
        return True
    except (AccessDenied, Corrupt, NotFound):
        pass
    return False
