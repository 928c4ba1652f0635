"""The entity store whose bodies spill keeps the whole EntityStore contract, nearly every body in the blob store."""

from __future__ import annotations

import pytest

from storycore.errors import TooLarge
from storycore.layers.checks import checked
from storycore.layers.spilling import SpillingEntities
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.plugins import Adapter
from storycore.ports.entities import EntityStore, Patch
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.entity_examples import find, key, put, write

_LONGEST = {"k": 2, "x": 2, "old": 2, "story": 2}


class Spilling(SpillingEntities):
    """Bodies of more than two bytes are kept as blobs."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        self._port = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
        inner: EntityStore = checked(PortName.ENTITIES, open_entities(config, env))
        super().__init__(inner, self._port, env, _LONGEST, place="here")

    async def open(self) -> None:
        await self._port.open()
        await super().open()

    async def close(self) -> None:
        await super().close()
        await self._port.close()


class TestSpillingEntities(EntityStoreSuite):
    adapter = Adapter(name="memory", ports={PortName.ENTITIES: f"{__name__}:Spilling"}, config=MemoryConfig)

    async def test_a_patch_must_not_grow_a_record_beyond_the_limit(self, store: EntityStore) -> None:
        """The limit counts what stays in the record: its fields, and no body that has spilled."""
        await write(store, put("a", body=b"x" * 300 * 1024))
        await write(store, Patch(key=key("a"), set={"f": "y" * 200 * 1024}))
        with pytest.raises(TooLarge) as caught:
            await write(store, Patch(key=key("a"), set={"g": "y" * 250 * 1024}))
        assert list(caught.value.breakdown)[:2] == ["fields[g]", "fields[f]"]
        stored = await find(store, "a")
        assert stored is not None
        assert (stored.body, set(stored.fields)) == (b"x" * 300 * 1024, {"f"})

    async def test_a_patch_may_fill_a_record_to_the_brim(self, store: EntityStore) -> None:
        """A patch may bring a body for which a record would have no room, and another may take it away."""
        await write(store, put("a", fields={"s": "y" * 200 * 1024}))
        await write(store, Patch(key=key("a"), body=b"x" * 300 * 1024))
        long = await find(store, "a")
        await write(store, Patch(key=key("a"), body=b"x"))
        short = await find(store, "a")
        assert long is not None
        assert short is not None
        assert (long.body, short.body) == (b"x" * 300 * 1024, b"x")
        assert long.fields == short.fields == {"s": "y" * 200 * 1024}
