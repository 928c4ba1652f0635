"""The conformance suite of the VectorIndex port.

Derive from ``VectorIndexSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(VectorIndexSuite):
        adapter = "mine"
        options = {"path": "{path}/vectors.db"}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from storycore.errors import ConfigError
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import IndexSpec, VectorIndex
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine
from storycore.testing.vector_changes import VectorChanges
from storycore.testing.vector_durability import VectorDurability
from storycore.testing.vector_examples import DIMENSION, generations, item, search
from storycore.testing.vector_items import VectorItems
from storycore.testing.vector_kills import VectorKills
from storycore.testing.vector_laws import VectorLaws
from storycore.testing.vector_listings import VectorListings
from storycore.testing.vector_machine import machine_for
from storycore.testing.vector_recall import VectorRecall
from storycore.testing.vector_search import VectorSearch
from storycore.testing.vector_settling import VectorHarness
from storycore.testing.vector_tokens import VectorTokens
from storycore.testing.vector_types import VectorTypes
from storycore.testing.vector_words import VectorWords

__all__ = ["VectorIndexSuite"]


class VectorIndexSuite(
    LifecycleSuite,
    VectorItems,
    VectorTypes,
    VectorChanges,
    VectorListings,
    VectorSearch,
    VectorLaws,
    VectorWords,
    VectorTokens,
    VectorRecall,
    VectorDurability,
    VectorKills,
):
    """Every sentence of the VectorIndex port as a test.

    Args:
        adapter: what is tested: an adapter, or the name of an installed one.
        options: its settings.
        machine_examples: how many traces the state machine tries; ``None``: 40, or 8 for an adapter that brings a
            server.
        machine_steps: how long they are at most.
    """

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}
    machine_examples: ClassVar[int | None] = None
    machine_steps: ClassVar[int] = 25

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return VectorHarness(
            PortName.VECTORS, self.adapter, {"dimension": DIMENSION, **self.options}, tmp_path, served=served
        )

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[VectorIndex]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: VectorIndex) -> object:
        """Fetch what is not there."""
        return await store.fetch(["a"])

    # The index itself.

    @pytest.mark.asyncio
    async def test_the_specification_is_known_before_opening(self, harness: Harness) -> None:
        """``spec`` says what is configured, before and after opening: dimension, metric, model, types, text fields."""
        expected = IndexSpec(DIMENSION, "dot", "model-a", {"year": "number"}, ("title", "body"))
        asked = {
            "metric": "dot",
            "embedding": "model-a",
            "fields": {"year": "number"},
            "text_fields": ["title", "body"],
        }
        assert expected == harness.make(**asked).spec
        async with await harness.started(**asked) as store:
            assert expected == store.spec

    def test_an_index_without_a_dimension_is_a_config_error(self, harness: Harness) -> None:
        """No dimension and no embedder to take it from is refused when the index is made."""
        with pytest.raises(ConfigError):
            harness.make(dimension=None)

    @pytest.mark.asyncio
    async def test_readers_see_whole_calls(self, harness: Harness, store: VectorIndex) -> None:
        """While a batch is replaced again and again every query sees one generation of it, never parts of two."""
        harness.require(store, "vectors.atomic")
        done = asyncio.Event()

        async def write() -> None:
            try:
                for generation in range(25):
                    await store.upsert([item(f"i{n:02d}", n + 1, 1, generation=generation) for n in range(20)])
            finally:
                done.set()

        async def read() -> None:
            last = -1
            while not done.is_set():
                matches = await search(store, top_k=100)
                seen = generations(matches)
                assert (len(matches), len(seen)) in ((0, 0), (20, 1))
                assert last <= min(seen, default=last)
                last = max(seen, default=last)
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())

    @pytest.mark.asyncio
    async def test_any_trace_agrees_with_the_reference(self, harness: Harness) -> None:
        """Whatever is done in whatever order, results and errors are those of the memory adapter."""
        examples = harness.fitting(self.machine_examples, 40)
        await run_machine(machine_for(harness), examples=examples, steps=self.machine_steps)
