"""The entity store behind the record cache keeps the whole EntityStore contract, with every read through the cache."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.caching import CachedEntities, Caching
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.plugins import Adapter
from storycore.ports.entities import EntityStore, Key, Record
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite


class ReadsThroughCache(CachedEntities):
    """Reads by key come from the cache even where a caller asks for the store's own answer."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        self._port = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env))
        self._caching = Caching(self._port, env)
        inner: EntityStore = checked(PortName.ENTITIES, open_entities(config, env))
        super().__init__(inner, self._caching)

    async def open(self) -> None:
        await self._port.open()
        await super().open()

    async def close(self) -> None:
        await self._caching.close()
        await super().close()
        await self._port.close()

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        return await super().get(keys, consistent=False)


class TestCachedEntities(EntityStoreSuite):
    adapter = Adapter(name="memory", ports={PortName.ENTITIES: f"{__name__}:ReadsThroughCache"}, config=MemoryConfig)
