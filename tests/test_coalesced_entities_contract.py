"""The entity store whose gets are gathered keeps the whole EntityStore contract, with gathering forced upon it."""

from __future__ import annotations

from storycore.layers.coalescing import CoalescedEntities
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.plugins import Adapter
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite


class Coalesced(CoalescedEntities):
    """Every get waits for the others of its moment."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        super().__init__(open_entities(config, env))


class TestCoalescedEntities(EntityStoreSuite):
    adapter = Adapter(name="memory", ports={PortName.ENTITIES: f"{__name__}:Coalesced"}, config=MemoryConfig)
