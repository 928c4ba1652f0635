"""What a vector index promises about changing and removing what it holds: by id, by filter, and rehearsed."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import pytest

from storycore.errors import InvalidArgument, NotFound, SchemaConflict, TooLarge
from storycore.filters import F
from storycore.ports.vectors import Metadata, VectorIndex, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import counted, crowd, found, item, search, vector
from storycore.testing.vector_oracle import holds
from storycore.testing.vector_refusals import BAD_DELETES, BAD_UPDATES, BAD_UPDATES_BY_FILTER

__all__ = ["VectorChanges"]


class VectorChanges:
    """The part of the VectorIndex suite that updates and deletes."""

    # Update.

    @pytest.mark.asyncio
    async def test_update_changes_what_it_names_and_nothing_else(self, store: VectorIndex) -> None:
        """A new vector keeps the metadata; ``set`` merges, ``unset`` removes, an empty list removes too."""
        await store.upsert([item("a", 1, keep=1, change=2, drop=3, tags=["t"]), item("b", 1)])
        await store.update("a", values=vector(0, 1))
        await store.update("a", set={"change": 2.5, "new": True, "tags": []}, unset=["drop", "unknown"])
        expected = VectorItem("a", array("f", [0, 1, 0, 0]), {"keep": 1, "change": 2.5, "new": True})
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

    @pytest.mark.asyncio
    async def test_keys_to_remove_may_be_generated(self, store: VectorIndex) -> None:
        """No key is lost of those that can be walked over but once."""
        await store.upsert([item("a", 1, x=1, y=2, z=3)])
        keys: Any = (key for key in ("x", "y"))
        await store.update("a", unset=keys)
        [stored] = await store.fetch(["a"])
        assert stored is not None
        assert stored.metadata == {"z": 3}

    # Update by filter.

    @pytest.mark.asyncio
    async def test_update_by_filter_changes_exactly_the_matches(self, store: VectorIndex) -> None:
        """``set`` is merged into all that match and into nothing else; vectors stay as they are."""
        await store.upsert([item(f"i{n}", n + 1, 1, n=n, keep="k") for n in range(6)] + [item("bare", 2)])
        await store.upsert([item("i5", 1, n=5)], namespace="other")
        updated = await store.update_where((F.n >= 4) | ~F.n.exists(), set={"hit": True, "n": 40.5})
        counted(store, updated.count, 3)
        changed = [VectorItem(f"i{n}", array("f", [n + 1, 1, 0, 0]), {"n": n, "keep": "k"}) for n in range(4)]
        for n in (4, 5):
            merged: Metadata = {"n": 40.5, "keep": "k", "hit": True}
            changed.append(VectorItem(f"i{n}", array("f", [n + 1, 1, 0, 0]), merged))
        changed.append(VectorItem("bare", array("f", [2, 0, 0, 0]), {"hit": True, "n": 40.5}))
        assert changed == await store.fetch([each.id for each in changed])
        assert await store.fetch(["i5"], namespace="other") == [VectorItem("i5", array("f", [1, 0, 0, 0]), {"n": 5})]

    @pytest.mark.asyncio
    async def test_update_by_filter_removes_keys(self, store: VectorIndex) -> None:
        """``unset`` and an empty list remove keys, known and unknown ones, beside what ``set`` adds."""
        await store.upsert([item("a", 1, x=1, old="o", tags=["t"]), item("b", 1, x=2, old="o")])
        counted(store, (await store.update_where(F.x == 1, unset=["old", "unknown"], set={"tags": []})).count, 1)
        fetched = await store.fetch(["a", "b"])
        assert [each and each.metadata for each in fetched] == [{"x": 1}, {"x": 2, "old": "o"}]
        counted(store, (await store.update_where(F.x.exists(), unset=["old"], set={"new": "n"})).count, 2)
        fetched = await store.fetch(["a", "b"])
        assert [each and each.metadata for each in fetched] == [{"x": 1, "new": "n"}, {"x": 2, "new": "n"}]

    @pytest.mark.asyncio
    async def test_update_by_filter_is_seen_by_filters(self, store: VectorIndex) -> None:
        """A change of the very field that chose the items chooses each once, and is seen by the next query."""
        await store.upsert([item(f"i{n}", n + 1, 1, n=n) for n in range(5)])
        counted(store, (await store.update_where(F.n >= 3, set={"n": 0})).count, 2)
        assert (await found(store, F.n == 0), await found(store, F.n >= 3)) == (["i0", "i3", "i4"], [])
        counted(store, (await store.update_where(F.n >= 3, set={"n": 7})).count, 0)
        counted(store, (await store.update_where(F.n >= 0, set={"n": 7}, namespace="unknown")).count, 0)
        assert (await store.stats()).counts == {"default": 5}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_UPDATES_BY_FILTER)
    async def test_a_bad_update_by_filter_is_refused(self, store: VectorIndex, name: str) -> None:
        """An update by filter takes a filter that is not empty and metadata within the limits."""
        before = item("a", 1, a="x")
        await store.upsert([before])
        for dry_run in (False, True):
            with pytest.raises(InvalidArgument):
                await store.update_where(**BAD_UPDATES_BY_FILTER[name], dry_run=dry_run)
        [stored] = await store.fetch(["a"])
        assert stored is not None
        assert before.metadata == stored.metadata

    @pytest.mark.asyncio
    async def test_update_by_filter_lets_no_item_grow_too_large(self, harness: Harness, store: VectorIndex) -> None:
        """When a single merged item would have too much metadata the call is ``TooLarge``, and no item is changed."""
        harness.require(store, "vectors.atomic")
        items = [item(f"i{n}", n + 1, 1, n=n, a="y" * (30_000 if n == 3 else 10)) for n in range(6)]
        await store.upsert(items)
        with pytest.raises(TooLarge):
            await store.update_where(F.n >= 1, set={"b": "x" * 11_000})
        assert [each.metadata for each in items] == [each.metadata for each in (await store.scan()).items]
        await store.update_where(F.n >= 1, set={"b": "x" * 11_000, "a": "short"})
        assert await found(store, F.a == "short") == ["i1", "i2", "i3", "i4", "i5"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("unset", [[], ["n"]], ids=["set", "unset"])
    async def test_an_item_that_would_grow_too_large_is_named(self, store: VectorIndex, unset: list[str]) -> None:
        """An update by filter that makes an item's metadata too large is ``TooLarge``, and the item stays as it was."""
        before = item("large", 1, n=1, a="y" * 30_000)
        await store.upsert([before])
        with pytest.raises(TooLarge, match="large"):
            await store.update_where(F.n == 1, set={"b": "x" * 11_000}, unset=unset)
        [stored] = await store.fetch(["large"])
        assert stored is not None
        assert before.metadata == stored.metadata

    @pytest.mark.asyncio
    async def test_readers_see_an_update_by_filter_whole(self, harness: Harness, store: VectorIndex) -> None:
        """While all items are changed again and again every query sees one state of them, never parts of two."""
        harness.require(store, "vectors.atomic")
        await store.upsert([item(f"i{n:02d}", n + 1, 1, generation=0) for n in range(20)])
        done = asyncio.Event()

        async def write() -> None:
            try:
                for generation in range(1, 20):
                    await store.update_where(F.generation >= 0, set={"generation": generation})
            finally:
                done.set()

        async def read() -> None:
            while not done.is_set():
                seen = {match.metadata["generation"] for match in await search(store, top_k=100)}
                assert len(seen) == 1
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())

    # Delete.

    @pytest.mark.asyncio
    async def test_delete_by_ids_passes_over_unknown_ones(self, store: VectorIndex) -> None:
        """Named items go, each counted once; unknown ids are no error; the rest stays."""
        await store.upsert([item(name) for name in "abcd"])
        deleted = await store.delete(ids=["b", "unknown", "d", "b"])
        counted(store, deleted.count, 2)
        counted(store, (await store.delete(ids=["b"])).count, 0)
        counted(store, (await store.delete(ids=[])).count, 0)
        assert await found(store) == ["a", "c"]

    @pytest.mark.asyncio
    async def test_delete_by_filter_removes_exactly_the_matches(self, store: VectorIndex) -> None:
        """All that match go and nothing else, also when the filter speaks of missing fields."""
        await store.upsert([item(f"i{n}", n + 1, 1, n=n) for n in range(6)] + [item("bare")])
        counted(store, (await store.delete(where=(F.n >= 4) | ~F.n.exists())).count, 3)
        assert await found(store) == ["i0", "i1", "i2", "i3"]
        counted(store, (await store.delete(where=F.n == 99)).count, 0)

    @pytest.mark.asyncio
    async def test_delete_all_empties_one_namespace(self, store: VectorIndex) -> None:
        """Everything in the namespace goes, and it can be filled again; other namespaces keep theirs."""
        await store.upsert(crowd(30))
        await store.upsert([item("a")], namespace="other")
        counted(store, (await store.delete(all=True)).count, 30)
        counted(store, (await store.delete(all=True)).count, 0)
        assert (await found(store), await found(store, namespace="other")) == ([], ["a"])
        await store.upsert([item("b")])
        assert await found(store) == ["b"]

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
    @pytest.mark.parametrize("name", BAD_DELETES)
    async def test_delete_takes_exactly_one_selector(self, store: VectorIndex, name: str) -> None:
        """None, two, or one that is empty is refused, and nothing is removed."""
        await store.upsert([item("a", 1, x=1)])
        for dry_run in (False, True):
            with pytest.raises(InvalidArgument):
                await store.delete(**BAD_DELETES[name], dry_run=dry_run)
        assert await found(store) == ["a"]

    # Rehearsals.

    @pytest.mark.asyncio
    async def test_a_rehearsed_delete_counts_and_removes_nothing(self, store: VectorIndex) -> None:
        """``dry_run`` tells how many items would go, on every adapter, and all of them stay."""
        items = crowd(40)
        await store.upsert(items)
        some = ["c0001", "unknown", "c0002", "c0001"]
        for selector, expected in (
            ({"ids": some}, 2),
            ({"ids": []}, 0),
            ({"where": F.kind == "k1"}, sum(holds(F.kind == "k1", each.metadata) for each in items)),
            ({"where": ~F.n.exists()}, 0),
            ({"all": True}, 40),
            ({"all": True, "namespace": "unknown"}, 0),
        ):
            arguments: Any = selector
            assert expected == (await store.delete(**arguments, dry_run=True)).count, selector
        assert sorted(each.id for each in items) == await found(store)
        assert (await store.stats()).counts == {"default": 40}

    @pytest.mark.asyncio
    async def test_a_rehearsed_update_counts_and_changes_nothing(self, store: VectorIndex) -> None:
        """``dry_run`` tells how many items match, on every adapter, and all of them stay as they are."""
        items = crowd(40)
        await store.upsert(items)
        before = (await store.scan(limit=1000)).items
        for where in (F.kind == "k1", ~(F.n > 10), F.nowhere.exists()):
            expected = sum(holds(where, each.metadata) for each in items)
            assert expected == (await store.update_where(where, set={"n": -1}, unset=["kind"], dry_run=True)).count
        unknown = await store.update_where(F.n >= 0, set={"n": -1}, namespace="unknown", dry_run=True)
        assert (unknown.count, await found(store, F.n == -1)) == (0, [])
        assert before == (await store.scan(limit=1000)).items

    @pytest.mark.asyncio
    async def test_a_rehearsed_update_is_refused_where_the_update_would_be(
        self, harness: Harness, store: VectorIndex
    ) -> None:
        """A type that conflicts is told by ``dry_run`` too, whether or not anything matches; no type is fixed."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1)])
        for where in (F.x == 1, F.x == 99):
            for dry_run in (True, False):
                with pytest.raises(SchemaConflict, match="'x'"):
                    await store.update_where(where, set={"x": "t"}, dry_run=dry_run)
            assert (await store.update_where(where, set={"fresh": 1}, dry_run=True)).count == (where == (F.x == 1))
        await store.upsert([item("b", 1, fresh="t")])
        assert await found(store, F.fresh == "t") == ["b"]

    @pytest.mark.asyncio
    async def test_a_rehearsed_update_tells_which_item_would_grow_too_large(
        self, harness: Harness, store: VectorIndex
    ) -> None:
        """``dry_run`` is ``TooLarge`` exactly where the update would be, after what it would remove is gone."""
        harness.require(store, "vectors.atomic")
        await store.upsert([item("small", 1, n=1), item("large", 1, n=2, a="y" * 30_000)])
        changes: tuple[tuple[Metadata, list[str], bool], ...] = (
            ({"b": "x" * 11_000}, [], True),
            ({"b": "x" * 11_000}, ["n"], True),
            ({"b": "x" * 11_000}, ["a"], False),
            ({"a": "x" * 40_000}, [], False),
            ({"b": "x" * 10_000}, [], False),
        )
        for added, removed, is_refused in changes:
            if not is_refused:
                assert (await store.update_where(F.n >= 1, set=added, unset=removed, dry_run=True)).count == 2
                continue
            for dry_run in (True, False):
                with pytest.raises(TooLarge, match="large"):
                    await store.update_where(F.n >= 1, set=added, unset=removed, dry_run=dry_run)
            assert (await store.update_where(F.n == 1, set=added, unset=removed, dry_run=True)).count == 1

    @pytest.mark.asyncio
    async def test_a_rehearsal_has_the_token_of_the_last_write(self, harness: Harness, store: VectorIndex) -> None:
        """The token of a rehearsal stands for what was written before it."""
        harness.require(store, "vectors.at_least")
        await store.upsert([item("a", 1, x=1)])
        for token in (
            (await store.delete(all=True, dry_run=True)).token,
            (await store.update_where(F.x == 1, set={"x": 2}, dry_run=True)).token,
        ):
            assert [match.metadata for match in await search(store, at_least=token)] == [{"x": 1}]
