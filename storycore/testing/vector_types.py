"""What a vector index promises about the types of metadata fields: one per field and namespace, fixed by a write."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from storycore.errors import SchemaConflict
from storycore.filters import F
from storycore.ports.filters import MetadataValue
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import found, item, search, vector

__all__ = ["VectorTypes"]

CONFLICTS: Final[Mapping[str, tuple[MetadataValue, MetadataValue]]] = {
    "a text for a number": (1, "1"),
    "a list for a number": (1.5, ["1"]),
    "a bool for a number": (1, True),
    "a number for a text": ("1", 1),
    "a bool for a text": ("true", True),
    "a number for a list": (["a"], 0),
    "a bool for a list": (["a"], False),
    "a number for a bool": (True, 1),
    "a text for a bool": (False, "false"),
    "a list for a bool": (True, ["true"]),
}
SAME: Final[Mapping[str, tuple[MetadataValue, MetadataValue]]] = {
    "a whole number and a fraction": (1, 2.5),
    "a text and a list": ("a", ["b", "a"]),
    "a list and a text": (["a", "b"], "a"),
    "both bools": (True, False),
}


class VectorTypes:
    """The part of the VectorIndex suite about types of fields."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", CONFLICTS)
    async def test_another_type_is_a_conflict_and_writes_nothing(
        self, harness: Harness, store: VectorIndex, name: str
    ) -> None:
        """A field keeps the type of its first write; a call with another one is refused, whichever call it is."""
        harness.require(store, "vectors.field_types")
        first, second = CONFLICTS[name]
        await store.upsert([item("a", 1, x=first)])
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.upsert([item("good", 1), item("bad", 1, x=second)]),
            lambda: store.update("a", values=vector(0, 1), set={"x": second, "y": 1}),
            lambda: store.update_where(F.x.exists(), set={"x": second, "y": 1}),
        )
        for call in calls:
            with pytest.raises(SchemaConflict, match="'x'") as caught:
                await call()
            assert caught.value.field == "x"
        assert (await store.scan()).items == [VectorItem("a", array("f", [1, 0, 0, 0]), {"x": first})]
        assert await found(store) == ["a"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", SAME)
    async def test_what_is_one_type_is_no_conflict(self, store: VectorIndex, name: str) -> None:
        """Whole numbers and fractions are one type, texts and lists of texts are one, however they are written."""
        first, second = SAME[name]
        await store.upsert([item("a", 1, x=first), item("b", 1, x=second)])
        await store.update("a", set={"x": second})
        await store.update_where(F.x.exists(), set={"x": first})
        fetched = await store.fetch(["a", "b"])
        assert [{"x": first}] * 2 == [each and each.metadata for each in fetched]

    @pytest.mark.asyncio
    async def test_two_types_in_one_call_are_a_conflict(self, harness: Harness, store: VectorIndex) -> None:
        """A call that has a field with two types writes nothing, and leaves all its fields without a type."""
        harness.require(store, "vectors.field_types")
        with pytest.raises(SchemaConflict):
            await store.upsert([item("a", 1, x=1, y=1), item("b", 1, x="t")])
        assert (await store.stats()).counts == {}
        await store.upsert([item("a", 1, x="t", y="t"), item("b", 1, x="u")])
        assert await found(store, F.x == "t") == ["a"]

    @pytest.mark.asyncio
    async def test_only_the_last_of_equal_ids_has_a_type(self, harness: Harness, store: VectorIndex) -> None:
        """What a later item of the same call replaces is not written, and fixes no type."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1), item("a", 1, x="t"), item("b", 1, x="u")])
        assert await found(store, F.x.in_(["t", "u"])) == ["a", "b"]
        with pytest.raises(SchemaConflict):
            await store.upsert([item("c", 1, x=1)])

    @pytest.mark.asyncio
    async def test_a_refused_call_fixes_no_type(self, harness: Harness, store: VectorIndex) -> None:
        """A field that is new in a refused call is still without a type."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1)])
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.upsert([item("b", 1, fresh=1), item("c", 1, x="t")]),
            lambda: store.update("a", set={"x": "t", "fresh": 1}),
            lambda: store.update_where(F.x == 1, set={"x": "t", "fresh": 1}),
        )
        for call in calls:
            with pytest.raises(SchemaConflict):
                await call()
        await store.upsert([item("b", 1, fresh="t")])
        assert await found(store, F.fresh == "t") == ["b"]

    @pytest.mark.asyncio
    async def test_an_update_that_matches_nothing_is_compared_and_fixes_no_type(
        self, harness: Harness, store: VectorIndex
    ) -> None:
        """What an update by filter sets is compared before anything is looked for, and fixed once it is written."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1)])
        with pytest.raises(SchemaConflict):
            await store.update_where(F.nowhere == 1, set={"x": "t"})
        await store.update_where(F.nowhere == 1, set={"fresh": "t"})
        await store.upsert([item("b", 1, fresh=1)])
        assert await found(store, F.fresh == 1) == ["b"]

    @pytest.mark.asyncio
    async def test_each_namespace_has_its_own_types(self, store: VectorIndex) -> None:
        """The same field may be a number here and a text there."""
        await store.upsert([item("a", 1, x=1)])
        await store.upsert([item("a", 1, x="t")], namespace="other")
        await store.update("a", set={"x": 2})
        await store.update("a", set={"x": "u"}, namespace="other")
        assert (await found(store, F.x == 2), await found(store, F.x == "u", namespace="other")) == (["a"], ["a"])

    @pytest.mark.asyncio
    async def test_updates_fix_types_too(self, harness: Harness, store: VectorIndex) -> None:
        """A field that an update writes first has its type from there, by id and by filter."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, n=1), item("b", 1, n=2)])
        await store.update("a", set={"x": True})
        await store.update_where(F.n == 2, set={"y": "t"})
        for other in ({"x": 1}, {"y": 1}):
            changed: Any = other
            with pytest.raises(SchemaConflict):
                await store.upsert([item("c", 1, **changed)])
            with pytest.raises(SchemaConflict):
                await store.update("b", set=changed)
        fetched = await store.fetch(["a", "b", "c"])
        assert [each and each.metadata for each in fetched] == [{"n": 1, "x": True}, {"n": 2, "y": "t"}, None]

    @pytest.mark.asyncio
    async def test_an_update_by_filter_conflicts_whether_or_not_anything_matches(
        self, harness: Harness, store: VectorIndex
    ) -> None:
        """A call with another type is refused also when no item would be changed by it."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1)])
        with pytest.raises(SchemaConflict):
            await store.update_where(F.x == 99, set={"x": "t"})
        assert await found(store, F.x == 1) == ["a"]

    @pytest.mark.asyncio
    async def test_what_does_not_exist_has_no_type(self, store: VectorIndex) -> None:
        """An empty list is the same as no key, so it fits every field and fixes no type."""
        await store.upsert([item("a", 1, x=[])])
        await store.upsert([item("b", 1, x=1)])
        await store.upsert([item("c", 1, x=[])])
        await store.update("b", set={"x": []})
        assert await found(store, ~F.x.exists()) == ["a", "b", "c"]

    @pytest.mark.asyncio
    async def test_types_outlive_their_items(self, harness: Harness, store: VectorIndex) -> None:
        """Deleting by ids or by filter, removing the field or replacing the item keeps the type of a field."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, v=1), item("b", 1, w=1), item("c", 1, x=1), item("d", 1, y=1), item("e", z=1)])
        await store.delete(ids=["a"])
        await store.delete(where=F.w.exists())
        await store.update("c", unset=["x"])
        await store.update_where(F.y.exists(), unset=["y"])
        await store.upsert([item("e", 1)])
        assert await found(store, ~F.nowhere.exists()) == ["c", "d", "e"]
        for field in "vwxyz":
            with pytest.raises(SchemaConflict):
                await store.upsert([VectorItem("f", vector(1), {field: "t"})])
            await store.upsert([VectorItem("f", vector(1), {field: 2})])

    @pytest.mark.asyncio
    async def test_delete_all_forgets_the_types(self, store: VectorIndex) -> None:
        """After ``delete(all=True)`` fields are free in that namespace, also when no item was left."""
        await store.upsert([item("a", 1, x=1)])
        await store.delete(all=True)
        await store.upsert([item("a", 1, x="t")])
        assert await found(store, F.x == "t") == ["a"]
        await store.delete(ids=["a"])
        await store.delete(all=True)
        await store.upsert([item("a", 1, x=True)])
        assert await found(store, F.x == True) == ["a"]  # noqa: E712 - builds a filter

    @pytest.mark.asyncio
    async def test_only_a_real_delete_all_forgets_types(self, harness: Harness, store: VectorIndex) -> None:
        """Rehearsing it, or emptying another namespace, forgets nothing."""
        harness.require(store, "vectors.field_types")
        await store.upsert([item("a", 1, x=1)])
        await store.delete(all=True, dry_run=True)
        await store.delete(all=True, namespace="other")
        with pytest.raises(SchemaConflict):
            await store.upsert([item("a", 1, x="t")])

    @pytest.mark.asyncio
    async def test_declared_types_hold_everywhere_and_always(self, harness: Harness) -> None:
        """A declared field has its type in every namespace from the start, and keeps it when all is deleted."""
        declared = {"year": "number", "draft": "bool", "tags": "string"}
        async with await harness.started(fields=declared) as store:
            harness.require(store, "vectors.field_types")
            for namespace in ("default", "other"):
                for bad in ({"year": "1871"}, {"draft": 0}, {"tags": 1}):
                    metadata: Any = bad
                    with pytest.raises(SchemaConflict):
                        await store.upsert([item("a", 1, **metadata)], namespace=namespace)
                await store.upsert([item("a", 1, year=1871, draft=True, tags=["t"], free="f")], namespace=namespace)
                await store.delete(all=True, namespace=namespace)
                with pytest.raises(SchemaConflict):
                    await store.upsert([item("a", 1, year="1871")], namespace=namespace)
                await store.upsert([item("a", 1, free=1)], namespace=namespace)
            assert [match.metadata for match in await search(store, namespace="other")] == [{"free": 1}]
