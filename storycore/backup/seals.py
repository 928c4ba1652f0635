"""Seals: which of the manifests that lie in an archive bear one, for nothing that bears none decides anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from storycore.backup.archive import Archive
from storycore.backup.manifest import Manifest
from storycore.errors import AccessDenied, Corrupt, NotFound, SchemaMismatch, StorycoreError
from storycore.layers.spilled_bodies import in_parallel

__all__ = ["Unread", "first_sealed", "in_words", "sealed_among", "worst"]

Unread: TypeAlias = Mapping[str, StorycoreError]
"""Ids whose manifests bear no seal of their key, or whose keys do not open; with what was found."""

_AT_ONCE = 16


async def sealed_among(archive: Archive, listed: Sequence[Manifest]) -> tuple[list[Manifest], Unread]:
    """Those of the listed backups whose manifests bear their seals, in their order; and the others.

    What was removed since it was listed is among neither.
    """
    read = await in_parallel(lambda each: _sealed(archive, each.id), listed)
    sealed = [found for found in read if isinstance(found, Manifest)]
    return sealed, {
        each.id: found for each, found in zip(listed, read, strict=True) if isinstance(found, StorycoreError)
    }


async def first_sealed(archive: Archive, listed: Sequence[Manifest]) -> tuple[Manifest | None, Unread]:
    """The first of the listed backups whose manifest bears its seal; and those in front of it, which do not."""
    unread: dict[str, StorycoreError] = {}
    begin, end = 0, 1
    while begin < len(listed):
        sealed, others = await sealed_among(archive, listed[begin:end])
        if sealed:
            ids = [each.id for each in listed]
            unread |= {id_: why for id_, why in others.items() if ids.index(id_) < ids.index(sealed[0].id)}
            return sealed[0], unread
        unread |= others
        begin, end = end, end + _AT_ONCE
    return None, unread


def worst(unread: Unread) -> tuple[str, StorycoreError]:
    """What is to be told where none opens: that the key is wrong, if that is so."""
    return min(unread.items(), key=lambda each: not isinstance(each[1], AccessDenied))


def in_words(unread: Unread) -> tuple[str, ...]:
    """What was left out, in sentences."""
    return tuple(
        f"{why.message} So what lies under the name {id_} was left out: it does not count as a backup."
        for id_, why in unread.items()
    )


async def _sealed(archive: Archive, id_: str) -> Manifest | StorycoreError | None:
    try:
        return await archive.manifest(id_)
    except NotFound:
        return None
    except (AccessDenied, Corrupt, SchemaMismatch) as exc:
        return exc if await archive.has(id_) else None  # a prune removes a manifest first, and its key last
