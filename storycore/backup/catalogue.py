"""The catalogue: which backups lie in an archive, by names where those tell enough, and by manifests where not."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storycore.backup.manifest import Manifest, read_manifest
from storycore.errors import Corrupt, NotFound, SchemaMismatch, StorycoreError
from storycore.layers.spilled_bodies import in_parallel
from storycore.ports.blobs import BlobStore

__all__ = ["Catalogue", "Listing"]

_PAGE = 1000
_ID = re.compile(r"(daily|weekly|monthly|manual)_(\d{8}_\d{6})_\w{1,6}", re.ASCII)
"""Other folders beside the backups hold other things."""
_AT_ONCE = 16
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in an archive.

    Args:
        manifests: newest state first.
        damaged: ids whose manifest cannot be read, with the reason.
        newer: those of them that a newer version of storycore made.
    """

    manifests: Sequence[Manifest]
    damaged: Mapping[str, str] = field(default_factory=dict)
    newer: Sequence[str] = ()


class Catalogue:
    """The backups of an archive. Nothing here needs a key, and nothing is checked against a seal.

    Args:
        blobs: where they lie.
        prefix: the archive's.
    """

    def __init__(self, blobs: BlobStore, prefix: str) -> None:
        self._blobs = blobs
        self._prefix = prefix

    def name(self, id_: str) -> str:
        """Of the blob that holds a backup's manifest."""
        return f"{self._prefix}manifests/{id_}.json"

    async def content(self, id_: str) -> bytes:
        """A manifest as it lies there.

        Raises:
            NotFound: there is no such backup.
        """
        async with await self._blobs.get(self.name(id_)) as reader:
            return await reader.read()

    async def committed(self) -> set[str]:
        """The ids of all that have a manifest, whatever it says."""
        return {name.removesuffix(".") async for name in self._names(f"{self._prefix}manifests/", delimiter=".")}

    async def ids(self) -> set[str]:
        """What backups lie here, finished or not, whatever their manifests say."""
        found = {name.removesuffix("/") async for name in self._names(self._prefix, delimiter="/")}
        return {each for each in found if _ID.fullmatch(each)}

    async def recordings(self) -> list[str]:
        """The ids of the backups behind which changes were recorded."""
        return [name.removesuffix("/") async for name in self._names(f"{self._prefix}segments/", delimiter="/")]

    async def listing(self) -> Listing:
        """All backups."""
        ids = sorted(await self.committed())
        read = dict(zip(ids, await in_parallel(self.read, ids, width=_AT_ONCE), strict=True))
        return Listing(
            _newest_first(each for each in read.values() if isinstance(each, Manifest)),
            {id_: each.message for id_, each in read.items() if isinstance(each, StorycoreError)},
            tuple(id_ for id_, each in read.items() if isinstance(each, SchemaMismatch)),
        )

    async def by_beginning(self) -> AsyncGenerator[tuple[Sequence[Manifest], datetime | None], None]:
        """All backups in lists, those that began last first; with each when the next one began, ``None`` at the end.

        Whoever looks for the newest ones need not read all manifests.
        """
        ids = sorted(await self.committed(), key=_begun, reverse=True)
        for start in range(0, len(ids), _AT_ONCE):
            end = start + _AT_ONCE
            read = await in_parallel(self.read, ids[start:end], width=_AT_ONCE)
            manifests = _newest_first(each for each in read if isinstance(each, Manifest))
            yield manifests, _begun(ids[end]) if end < len(ids) else None

    async def read(self, id_: str) -> Manifest | StorycoreError | None:
        """A manifest, or why it cannot be read; ``None``: it was removed since it was listed."""
        try:
            return read_manifest(await self.content(id_), name=id_)
        except NotFound:
            return None
        except (Corrupt, SchemaMismatch) as exc:
            return exc

    async def _names(self, folder: str, *, delimiter: str) -> AsyncIterator[str]:
        """What keys begin with behind a folder, up to the delimiter; a listing of blobs would look at each of them."""
        after: str | None = None
        while True:
            page = await self._blobs.entries(folder, delimiter=delimiter, after=after, limit=_PAGE)
            for each in page.prefixes:
                yield each.removeprefix(folder)
            if (after := page.next) is None:
                return


def _newest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda each: (each.as_of, each.id), reverse=True)


def _begun(id_: str) -> datetime:
    """When a backup began, as its id says; what says nothing comes first."""
    named = _ID.fullmatch(id_)
    try:
        return datetime.strptime(named[2], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) if named else _LAST
    except ValueError:
        return _LAST
