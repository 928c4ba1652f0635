"""Removal: backups go in a way in which one that comes to be at the same time never loses what it builds on.

Whoever makes an increment writes its manifest and then looks whether the parent is still there. Here the manifests are
taken away, and then it is looked whether others have come to be, while there is still everything to undo it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storycore.backup.archive import Archive
from storycore.backup.manifest import Manifest
from storycore.backup.refusals import Refusals
from storycore.layers.spilled_bodies import in_parallel

__all__ = ["remove"]

_AT_ONCE = 16


async def remove(
    archive: Archive, manifests: Sequence[Manifest], known: set[str], gone: list[str], refusals: Refusals
) -> bool:
    """Remove backups, a few at a time.

    Interrupted, it leaves objects without a manifest, which ``Archive.sweep`` removes.

    Args:
        manifests: newest state first, so that children go before their parents.
        known: the ids of all backups when it was decided what goes.
        gone: is told the ids of those that went.
        refusals: are told of those that may not be removed; what they build on stays too.

    Returns:
        Whether all went; else others have come to be, and it is to be decided anew.
    """
    parents = {each.id: each.parent for each in manifests}
    for start in range(0, len(manifests), _AT_ONCE):
        group = manifests[start : start + _AT_ONCE]
        taken = await _withdrawn(archive, group, parents, refusals)
        fresh = await archive.committed() - known
        needed = await _needed(archive, fresh, {each.id: each.parent for each in group})
        for id_ in reversed([id_ for id_ in taken if id_ in needed]):
            await archive.give_back(id_, taken[id_])
        cleared = [each for each in group if each.id in taken and each.id not in needed]
        await in_parallel(lambda each: _clear(archive, each, refusals), cleared)
        gone += [each.id for each in cleared]
        if fresh:
            return False
    return True


async def _withdrawn(
    archive: Archive, group: Sequence[Manifest], parents: Mapping[str, str | None], refusals: Refusals
) -> dict[str, bytes]:
    """The manifests that were taken away; one whose child may not be removed stays."""
    taken: dict[str, bytes] = {}
    for each in group:
        if each.id in refusals.needed(parents):
            continue
        with refusals.borne(each.id):
            found = await archive.withdraw(each.id)
            if found is not None:
                taken[each.id] = found
    return taken


async def _clear(archive: Archive, manifest: Manifest, refusals: Refusals) -> None:
    with refusals.borne(manifest.id):
        await archive.clear(manifest)


async def _needed(archive: Archive, fresh: set[str], parents: Mapping[str, str | None]) -> set[str]:
    """Those among some backups on which one that has come to be builds; all, where nobody knows on what it builds."""
    needed: set[str] = set()
    for id_ in fresh:
        found = await archive.listed(id_)
        if found is None:
            continue  # it is gone again
        if not isinstance(found, Manifest):
            return set(parents)
        parent = found.parent
        while parent is not None and parent in parents:
            needed.add(parent)
            parent = parents[parent]
    return needed
