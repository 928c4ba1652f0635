"""The conformance suite of the Cache port.

Derive from ``CacheSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(CacheSuite):
        adapter = "mine"
        options = {"path": "{path}/cache"}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from storycore.plugins import Adapter
from storycore.ports.cache import Cache
from storycore.ports.lifecycle import PortName
from storycore.testing.cache_counters import CacheCounters
from storycore.testing.cache_interleavings import CacheInterleavings
from storycore.testing.cache_leases import CacheLeases
from storycore.testing.cache_limits import CacheLimits
from storycore.testing.cache_machine import machine_for
from storycore.testing.cache_processes import CacheProcesses
from storycore.testing.cache_push import CachePush
from storycore.testing.cache_races import CacheRaces
from storycore.testing.cache_stacks import CacheStacks
from storycore.testing.cache_values import CacheValues
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine

__all__ = ["CacheSuite"]


class CacheSuite(
    LifecycleSuite,
    CacheValues,
    CacheLeases,
    CacheCounters,
    CacheLimits,
    CacheRaces,
    CacheInterleavings,
    CacheStacks,
    CacheProcesses,
    CachePush,
):
    """Every sentence of the Cache port as a test."""

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(PortName.CACHE, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[Cache]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: Cache) -> object:
        """Read a key that is not there."""
        return await store.get(["probe"])

    @pytest.mark.asyncio
    async def test_it_agrees_with_the_reference(self, harness: Harness) -> None:
        """Any calls of several clients have the same results, and the same errors, as on the memory adapter."""
        await run_machine(machine_for(harness), examples=25, steps=25)
