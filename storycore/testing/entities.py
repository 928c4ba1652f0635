"""The conformance suite of the EntityStore port.

Derive from ``EntityStoreSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(EntityStoreSuite):
        adapter = "mine"
        options = {"path": "{path}/mine.db"}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from storycore.plugins import Adapter
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.testing.entity_batches import EntityBatches
from storycore.testing.entity_durability import EntityDurability
from storycore.testing.entity_examples import key
from storycore.testing.entity_expiry import EntityExpiry
from storycore.testing.entity_feed import EntityFeed
from storycore.testing.entity_histories import EntityHistories
from storycore.testing.entity_interruptions import EntityInterruptions
from storycore.testing.entity_kills import EntityKills
from storycore.testing.entity_limits import EntityLimits
from storycore.testing.entity_machine import machine_for
from storycore.testing.entity_order import EntityOrder
from storycore.testing.entity_reads import EntityReads
from storycore.testing.entity_sets import EntitySets
from storycore.testing.entity_sizes import EntitySizes
from storycore.testing.entity_trace import run_trace
from storycore.testing.entity_transactions import EntityTransactions
from storycore.testing.entity_writes import EntityWrites
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine

__all__ = ["EntityStoreSuite"]


class EntityStoreSuite(
    LifecycleSuite,
    EntityWrites,
    EntitySets,
    EntitySizes,
    EntityBatches,
    EntityReads,
    EntityOrder,
    EntityExpiry,
    EntityFeed,
    EntityLimits,
    EntityHistories,
    EntityTransactions,
    EntityInterruptions,
    EntityDurability,
    EntityKills,
):
    """Every sentence of the EntityStore port as a test.

    Args:
        machine_examples: how many traces drive the adapter and the reference; ``None``: 25, or 5 for an adapter that
            brings a server, each of whose steps is several requests.
        machine_steps: how long they are at most.
        trace_steps: how long the one seeded trace is that also drives both; ``None``: 200, or 40.
    """

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}
    machine_examples: ClassVar[int | None] = None
    machine_steps: ClassVar[int] = 20
    trace_steps: ClassVar[int | None] = None

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(PortName.ENTITIES, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[EntityStore]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: EntityStore) -> object:
        """Read a record that is not there."""
        return await store.get([key("probe")])

    async def test_it_agrees_with_the_reference(self, harness: Harness) -> None:
        """Any sequence of calls has the same results, and the same errors, as on the memory adapter."""
        machine = machine_for(harness, **self._lags)
        await run_machine(machine, examples=harness.fitting(self.machine_examples, 25), steps=self.machine_steps)

    async def test_a_long_trace_is_answered_like_the_reference(self, harness: Harness) -> None:
        """Hundreds of random steps in one place, with crashes, sweeps and passing time, are answered alike."""
        reference = Harness(PortName.ENTITIES, "memory", {}, harness.path / "reference")
        steps = harness.fitting(self.trace_steps, 200)
        report = await run_trace([reference, harness], seed=1, steps=steps, **self._lags)
        harness.count("steps of the trace", report.steps)
        assert (report.steps, set(report.stores)) == (steps, {"memory", harness.spec.name})

    @property
    def _lags(self) -> dict[str, float]:
        return {"index_lag_seconds": self.index_lag_seconds, "feed_lag_seconds": self.feed_lag_seconds}
