"""The EntityStore port behind a cache of records: reads by key that may lag are served from it, writes invalidate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from storycore.caching.caching import Caching
from storycore.caching.policies import Duration
from storycore.caching.records import RecordCodec
from storycore.layers.passing import PassingEntities
from storycore.ports.entities import (
    Delete,
    EntityStore,
    Key,
    Patch,
    Put,
    Record,
    Segment,
    Write,
    Written,
)

__all__ = ["CachedEntities"]

_WARM_PAGE = 100


class CachedEntities(PassingEntities):
    """The same port, with records in the cache.

    ``get(consistent=False)`` is served from the cache; a miss is read consistently from ``inner``. Everything else
    goes through. A write invalidates its keys before it returns, also when it failed or was cancelled, for it may
    have happened. So a reader of this process never gets an older record than a returned write left; a reader of
    another process does for at most the cache's ``l1_ttl``, or, should a writer die between its write and the
    invalidation, for ``ttl``, unless somebody who follows the change feed calls ``forget``.

    Args:
        inner: the store, behind its checks.
        caching: keeps the records under keys of their own.
        ttl: how long a record is served from the cache.
    """

    def __init__(self, inner: EntityStore, caching: Caching, *, ttl: Duration = timedelta(minutes=10)) -> None:
        super().__init__(inner)
        self._records = caching.region(
            "record:{pk}:{sk}", Record, ttl=ttl, codec=RecordCodec(), expires_at=lambda record: record.expires_at
        )

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records; with ``consistent=False`` from the cache."""
        if consistent or not keys:
            return await self.inner.get(keys, consistent=consistent)
        if len(keys) == 1:
            return [await self._records.get_or_load(load=self._one, **_parameters(keys[0]))]
        return await self._records.get_or_load_many([_parameters(key) for key in keys], load_many=self._many)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes, and invalidate their keys whatever became of them."""
        try:
            return await self.inner.write(writes, atomic=atomic, token=token)
        finally:
            await self.forget(
                write.key for write in writes if isinstance(write, Put | Patch | Delete) and isinstance(write.key, Key)
            )

    async def forget(self, keys: Iterable[Key]) -> bool:
        """Invalidate records, whoever has changed them; whether the shared tier confirmed it."""
        return await self._records.invalidate_many(_parameters(key) for key in keys)

    async def warm(
        self, kinds: Collection[str], *, plan: bool = False, progress: Callable[[int], None] | None = None
    ) -> dict[str, int]:
        """Read all records of some kinds into the cache, by walking the store once.

        Args:
            plan: only count them.
            progress: told how many are done.

        Returns:
            How many there are of each kind.
        """
        counts, after, has_more = dict.fromkeys(kinds, 0), None, True
        while has_more:
            page = await self.inner.scan(Segment(), after=after, limit=_WARM_PAGE)
            found = [record for record in page.records if record.kind in counts]
            for record in found:
                counts[record.kind] += 1
            if found and not plan:
                await self.get([record.key for record in found], consistent=False)
            if progress is not None:
                progress(sum(counts.values()))
            after = page.next
            has_more = after is not None
        return counts

    async def _one(self, pk: str, sk: str) -> Record | None:
        return (await self.inner.get([Key(pk, sk)]))[0]

    async def _many(self, missing: Sequence[Mapping[str, object]]) -> Sequence[Record | None]:
        return await self.inner.get([Key(str(one["pk"]), str(one["sk"])) for one in missing])


def _parameters(key: Key) -> dict[str, object]:
    return {"pk": key.pk, "sk": key.sk}
