"""The reference vector index keeps the VectorIndex contract."""

from __future__ import annotations

import asyncio
from array import array

from storycore.layers.checks import checked
from storycore.memory.config import MemoryVectorConfig
from storycore.memory.vectors import open_vectors
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorItem
from storycore.testing.vectors import VectorIndexSuite


class TestMemoryVectors(VectorIndexSuite):
    """The VectorIndex contract in memory."""

    adapter = "memory"


async def test_a_large_call_lets_others_have_their_turn() -> None:
    """While the items of a large upsert are checked other tasks go on."""
    turns = 0
    done = asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with checked(PortName.VECTORS, open_vectors(MemoryVectorConfig(dimension=8), Environment())) as index:
        other = asyncio.create_task(count())
        await index.upsert([VectorItem(f"i{n}", array("f", [1.0] * 8)) for n in range(1000)])
        done.set()
        await other
    assert turns >= 20
