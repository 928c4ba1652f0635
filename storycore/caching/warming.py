"""Warming: fill regions before they are asked, without bringing back what is invalidated meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from storycore.caching.region import Region

__all__ = ["Progress", "WarmLoader", "warm"]

Warmed: TypeAlias = tuple[Mapping[str, object], Any]
"""The parameters of a key, and its value; the value's type is the region's."""

WarmLoader: TypeAlias = Callable[[], AsyncIterable[Warmed] | Iterable[Warmed]]
"""Gives all values to warm. It is called twice: first for the keys alone; then, once loads of these keys are fenced
against invalidations, for the values."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told the region's name, how many of its keys are done, and how many there are."""

_BATCH = 500


async def warm(sources: Sequence[tuple[Region[Any], WarmLoader]], *, progress: Progress | None = None) -> int:
    """Fill regions from their loaders; how many keys are in the cache now that were asked for."""
    done = 0
    for region, loader in sources:
        wanted = [parameters async for parameters, _ in _walk(loader)]
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            await region.get_or_load_many(batch, load_many=partial(_values, region, loader))
            done += len(batch)
            if progress is not None:
                progress(region.name, start + len(batch), len(wanted))
    return done


async def _values(region: Region[Any], loader: WarmLoader, missing: Sequence[Mapping[str, object]]) -> list[Any]:
    keys = [region.key(**parameters) for parameters in missing]
    wanted = set(keys)
    found = {key: value async for parameters, value in _walk(loader) if (key := region.key(**parameters)) in wanted}
    return [found.get(key) for key in keys]


async def _walk(loader: WarmLoader) -> AsyncIterable[Warmed]:
    given = loader()
    if isinstance(given, AsyncIterable):
        async for one in given:
            yield one
    else:
        for one in given:
            yield one
