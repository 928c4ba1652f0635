"""The conformance suite of the VectorIndex port.

Derive from ``VectorIndexSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(VectorIndexSuite):
        adapter = "mine"
        options = {"path": "{path}/vectors.db"}
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from storycore.errors import ConfigError, InvalidArgument, NotFound
from storycore.filters import F
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import IndexSpec, VectorIndex, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine
from storycore.testing.vector_durability import VectorDurability
from storycore.testing.vector_examples import (
    BAD_DELETES,
    BAD_LISTINGS,
    BAD_UPDATES,
    DIMENSION,
    crowd,
    found,
    generations,
    item,
    search,
    vector,
)
from storycore.testing.vector_items import VectorItems
from storycore.testing.vector_machine import machine_for
from storycore.testing.vector_search import VectorSearch

__all__ = ["VectorIndexSuite"]


class VectorIndexSuite(LifecycleSuite, VectorItems, VectorSearch, VectorDurability):
    """Every sentence of the VectorIndex port as a test."""

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(
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
        """``spec`` says dimension, metric and model as configured, before and after opening."""
        expected = IndexSpec(DIMENSION, "dot", "model-a")
        assert expected == harness.make(metric="dot", embedding="model-a").spec
        async with await harness.started(metric="dot", embedding="model-a") as store:
            assert expected == store.spec

    def test_an_index_without_a_dimension_is_a_config_error(self, harness: Harness) -> None:
        """No dimension and no embedder to take it from is refused when the index is made."""
        with pytest.raises(ConfigError):
            harness.make(dimension=None)

    # Update.

    @pytest.mark.asyncio
    async def test_update_changes_what_it_names_and_nothing_else(self, store: VectorIndex) -> None:
        """A new vector keeps the metadata; ``set`` merges, ``unset`` removes, an empty list removes too."""
        await store.upsert([item("a", 1, keep=1, change=2, drop=3, tags=["t"]), item("b", 1)])
        await store.update("a", values=vector(0, 1))
        await store.update("a", set={"change": "two", "new": True, "tags": []}, unset=["drop", "unknown"])
        expected = VectorItem("a", array("f", [0, 1, 0, 0]), {"keep": 1, "change": "two", "new": True})
        assert [expected, VectorItem("b", array("f", [1, 0, 0, 0]))] == await store.fetch(["a", "b"])

    @pytest.mark.asyncio
    async def test_update_is_seen_by_queries_and_filters(self, store: VectorIndex) -> None:
        """After an update the old vector and the old metadata find nothing more."""
        await store.upsert([item("a", 1, x=1), item("b", -1, x=1)])
        await store.update("b", values=vector(0, 1), set={"x": 2})
        assert [match.id for match in await search(store, 0, 1, top_k=1)] == ["b"]
        assert (await found(store, F.x == 1), await found(store, F.x == 2)) == (["a"], ["b"])
        assert (await store.stats()).total == 2

    @pytest.mark.asyncio
    async def test_updating_what_is_not_there_is_not_found(self, store: VectorIndex) -> None:
        """An update never creates, whatever it would change."""
        await store.upsert([item("a")], namespace="other")
        for change in ({}, {"values": vector(1)}, {"set": {"x": 1}}, {"unset": ["x"]}):
            arguments: Any = change
            with pytest.raises(NotFound):
                await store.update("a", **arguments)
        assert (await store.stats()).counts == {"other": 1}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_UPDATES)
    async def test_a_bad_update_is_refused(self, store: VectorIndex, name: str) -> None:
        """An update outside the limits changes nothing, also when only the merged item would be too large."""
        before = item("a", 1, a="y" * 20_000)
        await store.upsert([before])
        with pytest.raises(InvalidArgument):
            await store.update(**{"id": "a", **BAD_UPDATES[name]})
        [stored] = await store.fetch(["a"])
        assert stored is not None
        assert before.metadata == stored.metadata

    # Delete.

    @pytest.mark.asyncio
    async def test_delete_by_ids_passes_over_unknown_ones(self, store: VectorIndex) -> None:
        """Named items go, each counted once; unknown ids are no error; the rest stays."""
        await store.upsert([item(name) for name in "abcd"])
        deleted = await store.delete(ids=["b", "unknown", "d", "b"])
        _counted(store, deleted.count, 2)
        _counted(store, (await store.delete(ids=["b"])).count, 0)
        _counted(store, (await store.delete(ids=[])).count, 0)
        assert await found(store) == ["a", "c"]

    @pytest.mark.asyncio
    async def test_delete_by_filter_removes_exactly_the_matches(self, store: VectorIndex) -> None:
        """All that match go and nothing else, also when the filter speaks of missing fields."""
        await store.upsert([item(f"i{n}", n + 1, 1, n=n) for n in range(6)] + [item("bare")])
        _counted(store, (await store.delete(where=(F.n >= 4) | ~F.n.exists())).count, 3)
        assert await found(store) == ["i0", "i1", "i2", "i3"]
        _counted(store, (await store.delete(where=F.n == 99)).count, 0)

    @pytest.mark.asyncio
    async def test_a_removed_item_is_nowhere(self, store: VectorIndex) -> None:
        """After a delete no operation shows the item, and it can be written anew."""
        await store.upsert([item("a", 1, x=1), item("b", 2, x=1)])
        await store.delete(ids=["a"])
        assert await store.fetch(["a"]) == [None]
        assert (await found(store), await found(store, F.x == 1)) == (["b"], ["b"])
        assert (await store.list_ids()).ids == ["b"]
        assert [each.id for each in (await store.scan()).items] == ["b"]
        await store.upsert([item("a", 0, 1, y=2)])
        assert (await found(store, F.x == 1), await found(store, F.y == 2)) == (["b"], ["a"])

    @pytest.mark.asyncio
    async def test_a_namespace_without_items_is_not_listed(self, store: VectorIndex) -> None:
        """``stats`` counts live items by namespace; an emptied namespace is gone."""
        await store.upsert([item("a"), item("b")])
        await store.upsert([item("a")], namespace="n2")
        assert ((await store.stats()).counts, (await store.stats()).total) == ({"default": 2, "n2": 1}, 3)
        await store.delete(ids=["a"], namespace="n2")
        await store.delete(all=True)
        assert (await store.stats()).counts == {}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_DELETES)
    async def test_delete_takes_exactly_one_selector(self, store: VectorIndex, name: str) -> None:
        """None, two, or one that is empty is refused, and nothing is removed."""
        await store.upsert([item("a", 1, x=1)])
        with pytest.raises(InvalidArgument):
            await store.delete(**BAD_DELETES[name])
        assert await found(store) == ["a"]

    # Listings.

    @pytest.mark.asyncio
    async def test_fetch_keeps_the_order_of_the_ids(self, store: VectorIndex) -> None:
        """One entry per id in its place, repeated ids repeated, ``None`` where nothing is stored."""
        await store.upsert([item("a"), item("b", 2)])
        fetched = await store.fetch(["b", "x", "a", "b"])
        assert [each and each.id for each in fetched] == ["b", None, "a", "b"]
        assert await store.fetch([]) == []

    @pytest.mark.asyncio
    @pytest.mark.parametrize("limit", [1, 2, 7, 20, 21, 1000])
    async def test_pages_walk_over_all_ids_once(self, store: VectorIndex, limit: int) -> None:
        """Ids and items come ascending, none twice and none left out, for every size of page."""
        await store.upsert(crowd(20))
        names, ids, seen = sorted(each.id for each in crowd(20)), list[str](), list[str]()
        after: str | None = None
        while True:
            page = await store.list_ids(after=after, limit=limit)
            assert len(page.ids) <= limit
            ids += page.ids
            if (after := page.next) is None:
                break
        while True:
            scanned = await store.scan(after=after, limit=limit)
            assert len(scanned.items) <= limit
            seen += [each.id for each in scanned.items]
            if (after := scanned.next) is None:
                break
        assert (names, names) == (ids, seen)

    @pytest.mark.asyncio
    async def test_a_prefix_is_no_pattern(self, store: VectorIndex) -> None:
        """``prefix`` selects ids that begin with it, character by character, with ``after`` and ``limit``."""
        await store.upsert([item(name) for name in ["a", "a%", "a%b", "a_", "ab", "aZ", "b", "A"]])
        assert (await store.list_ids(prefix="a%")).ids == ["a%", "a%b"]
        assert (await store.list_ids(prefix="a_")).ids == ["a_"]
        assert (await store.list_ids(prefix="a", after="a%b")).ids == ["aZ", "a_", "ab"]
        page = await store.list_ids(prefix="a", limit=2)
        assert (page.ids, page.next is not None) == (["a", "a%"], True)
        assert ((await store.list_ids(prefix="c")).ids, (await store.list_ids(prefix="c")).next) == ([], None)

    @pytest.mark.asyncio
    async def test_scan_filters_page_by_page(self, store: VectorIndex) -> None:
        """A filtered scan gives every match once with its vector, whatever the size of the page."""
        items = crowd(40)
        await store.upsert(items)
        expected = sorted(each.id for each in items if each.metadata["kind"] == "k2")
        seen: list[VectorItem] = []
        after: str | None = None
        while True:
            page = await store.scan(where=F.kind == "k2", after=after, limit=3)
            seen += page.items
            if (after := page.next) is None:
                break
        assert expected == [each.id for each in seen]
        assert seen == await store.fetch(expected)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_LISTINGS)
    async def test_a_bad_listing_is_refused(self, store: VectorIndex, name: str) -> None:
        """Limits are 1 to 1000; places and namespaces keep to the rules of ids."""
        with pytest.raises(InvalidArgument):
            await store.list_ids(**BAD_LISTINGS[name])
        with pytest.raises(InvalidArgument):
            await store.scan(**BAD_LISTINGS[name])

    # Upkeep and concurrency.

    @pytest.mark.asyncio
    async def test_optimize_changes_no_result(self, store: VectorIndex) -> None:
        """After many replaced and removed items ``optimize`` leaves every answer as it was."""
        await store.upsert(crowd(120, seed=1))
        await store.upsert(crowd(120, seed=2))
        await store.delete(where=F.kind == "k3")
        before = await search(store, 1, 2, top_k=10_000), (await store.scan(limit=1000)).items
        await store.optimize()
        assert before == (await search(store, 1, 2, top_k=10_000), (await store.scan(limit=1000)).items)
        assert len(before[0]) == (await store.stats()).total

    @pytest.mark.asyncio
    async def test_readers_see_whole_calls(self, harness: Harness, store: VectorIndex) -> None:
        """While a batch is replaced again and again every query sees one generation of it, never parts of two."""
        harness.require(store, "vectors.atomic")
        done = asyncio.Event()

        async def write() -> None:
            for generation in range(25):
                await store.upsert([item(f"i{n:02d}", n + 1, 1, generation=generation) for n in range(20)])
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
        await run_machine(machine_for(harness), examples=30, steps=20)


def _counted(store: VectorIndex, count: int | None, expected: int) -> None:
    """A delete tells how many went where that is claimed, and ``None`` elsewhere."""
    assert (expected if store.capabilities.has("vectors.delete_count") else None) == count
