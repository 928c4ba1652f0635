"""What a vector index promises about looking things up and walking through them: fetch, pages, counts, upkeep."""

from __future__ import annotations

import pytest

from storycore.errors import InvalidArgument
from storycore.filters import F
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.vector_examples import crowd, item, search
from storycore.testing.vector_refusals import BAD_LISTINGS

__all__ = ["VectorListings"]


class VectorListings:
    """The part of the VectorIndex suite that fetches, lists and counts."""

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
            ids += page.ids
            assert (len(page.ids) <= limit, len(ids) <= 20) == (True, True)
            if (after := page.next) is None:
                break
        while True:
            scanned = await store.scan(after=after, limit=limit)
            seen += [each.id for each in scanned.items]
            assert (len(scanned.items) <= limit, len(seen) <= 20) == (True, True)
            if (after := scanned.next) is None:
                break
        assert (names, names) == (ids, seen)

    @pytest.mark.asyncio
    async def test_pages_go_on_while_items_change(self, store: VectorIndex) -> None:
        """A page begins behind an id, also one that is gone or never was; what stays is seen once, what went is not."""
        await store.upsert([item(name, 1) for name in "bdfhjlnp"])
        ids, items = await store.list_ids(limit=3), await store.scan(limit=3, where=F.nowhere.exists() | ~F.no.exists())
        assert (ids.ids, ids.next, items.next) == (["b", "d", "f"], "f", "f")
        await store.delete(ids=["f", "j"])
        await store.upsert([item(name, 1) for name in "aegm"])
        assert (await store.list_ids(after=ids.next, limit=3)).ids == ["g", "h", "l"]
        assert [each.id for each in (await store.scan(after=items.next, limit=3)).items] == ["g", "h", "l"]
        assert (await store.list_ids(after="k", limit=1000)).ids == ["l", "m", "n", "p"]
        assert [each.id for each in (await store.scan(after="k", where=~F.no.exists())).items] == ["l", "m", "n", "p"]

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
            assert len(seen) <= 40
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
    async def test_a_dry_run_of_optimize_changes_nothing(self, store: VectorIndex) -> None:
        """It tells what would go, also when it is asked again; behind ``optimize`` there is nothing left to drop."""
        await store.upsert(crowd(120, seed=1))
        await store.upsert(crowd(120, seed=2))
        await store.delete(where=F.kind == "k3")
        before = await search(store, 1, 2, top_k=10_000), (await store.scan(limit=1000)).items
        first, second = await store.optimize(dry_run=True), await store.optimize(dry_run=True)
        assert (first.dropped, bool(first.detail)) == (second.dropped, True)
        assert before == (await search(store, 1, 2, top_k=10_000), (await store.scan(limit=1000)).items)
        assert (await store.optimize()).dropped >= first.dropped
        assert (await store.optimize(dry_run=True)).dropped == 0
        assert before == (await search(store, 1, 2, top_k=10_000), (await store.scan(limit=1000)).items)
