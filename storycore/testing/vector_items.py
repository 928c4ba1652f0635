"""What a vector index promises about items: what is written is read, within the limits, in its namespace."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import pytest

from storycore.errors import InvalidKey, TooLarge
from storycore.filters import F
from storycore.ports.filters import MetadataValue
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.vector_examples import IDS, METADATA, found, item, search, vector
from storycore.testing.vector_refusals import BAD_ITEMS

__all__ = ["VectorItems"]


class VectorItems:
    """The part of the VectorIndex suite that writes and reads back."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", METADATA)
    async def test_metadata_comes_back_as_it_was(self, store: VectorIndex, name: str) -> None:
        """Every allowed value survives with its type: True stays apart from 1, a whole number whole."""
        await store.upsert([VectorItem("a", vector(1), METADATA[name])])
        [stored] = await store.fetch(["a"])
        [match] = await search(store)
        assert stored is not None
        for seen in (stored.metadata, match.metadata):
            assert _typed(METADATA[name]) == _typed(seen)

    @pytest.mark.asyncio
    async def test_vectors_come_back_as_float32(self, store: VectorIndex) -> None:
        """Any sequence of numbers and any float buffer is kept as float32, bit by bit, also -0.0 and tiny numbers."""
        numbers = [0.12345678, -0.0, 1e-44, 3e38]
        given: dict[str, Any] = {
            "list": numbers,
            "tuple": tuple(numbers),
            "float32": array("f", numbers),
            "float64": array("d", numbers),
            "buffer": memoryview(array("d", numbers)),
            "whole": [1, 2, 3, 4],
        }
        await store.upsert([VectorItem(name, values) for name, values in given.items()])
        for stored in await store.fetch(list(given)):
            assert stored is not None
            expected = array("f", [1, 2, 3, 4] if stored.id == "whole" else numbers)
            assert ("f", expected.tobytes()) == (stored.values.typecode, stored.values.tobytes())

    @pytest.mark.asyncio
    async def test_an_empty_list_is_the_same_as_no_key(self, store: VectorIndex) -> None:
        """An empty list is not kept, and its field does not exist."""
        await store.upsert([item("a", tags=[], x=1)])
        [stored] = await store.fetch(["a"])
        assert stored is not None
        assert stored.metadata == {"x": 1}
        assert await found(store, F.tags.exists()) == []

    @pytest.mark.asyncio
    async def test_ids_are_kept_character_by_character(self, store: VectorIndex) -> None:
        """Any printable ASCII is an id, none is taken for another, and all can be fetched, found and removed."""
        await store.upsert([item(name, n + 1, 1, n=n) for n, name in enumerate(IDS)])
        assert [(name, n) for n, name in enumerate(IDS)] == [
            (each.id, each.metadata["n"]) for each in await store.fetch(IDS) if each is not None
        ]
        assert sorted(IDS) == await found(store)
        for name in IDS:
            assert (await store.list_ids(prefix=name)).ids[:1] == [name]
        await store.delete(ids=IDS)
        assert await found(store) == []

    @pytest.mark.asyncio
    async def test_a_stored_item_is_nobody_elses(self, store: VectorIndex) -> None:
        """Changing what was handed in or what was read changes nothing in the index."""
        values, tags = array("f", [1, 0, 0, 0]), ["a"]
        await store.upsert([VectorItem("x", values, {"tags": tags})])
        values[0] = 9
        tags.append("b")
        [read], [match] = await store.fetch(["x"]), await search(store, include_values=True)
        assert read is not None
        for seen in (read, match):
            mutable: Any = seen
            mutable.values[0] = 7
            mutable.metadata["tags"].append("c")
            mutable.metadata["more"] = 1
        [again] = await store.fetch(["x"])
        assert again == VectorItem("x", array("f", [1, 0, 0, 0]), {"tags": ["a"]})

    @pytest.mark.asyncio
    async def test_upsert_replaces_the_whole_item(self, store: VectorIndex) -> None:
        """Vector and metadata are replaced together; what was there before is found no more."""
        await store.upsert([item("a", 1, old=1), item("b", 0, 1)])
        await store.upsert([item("a", 0, 0, 1, new=2)])
        assert [VectorItem("a", array("f", [0, 0, 1, 0]), {"new": 2})] == await store.fetch(["a"])
        assert (await found(store, F.old.exists()), await found(store, F.new == 2)) == ([], ["a"])
        assert [match.id for match in await search(store, 0, 0, 1, top_k=1)] == ["a"]
        assert (await store.stats()).total == 2

    @pytest.mark.asyncio
    async def test_of_equal_ids_in_one_call_the_last_wins(self, store: VectorIndex) -> None:
        """Duplicates in a call count once, and the last one is kept."""
        upserted = await store.upsert([item("a", 1, n=1), item("b", 1), item("a", 2, n=2), item("a", 3, n=3)])
        assert upserted.written == 2
        [stored] = await store.fetch(["a"])
        assert stored == VectorItem("a", array("f", [3, 0, 0, 0]), {"n": 3})
        assert await found(store) == ["a", "b"]

    @pytest.mark.asyncio
    async def test_an_empty_upsert_writes_nothing(self, store: VectorIndex) -> None:
        """No items are written as such, and no namespace appears."""
        assert (await store.upsert([], namespace="new")).written == 0
        assert (await store.stats()).counts == {}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_ITEMS)
    async def test_a_bad_item_is_refused_with_its_whole_call(self, store: VectorIndex, name: str) -> None:
        """An item outside the limits fails the call before any I/O; the good items of the call are not written."""
        bad, error = BAD_ITEMS[name]
        with pytest.raises(error):
            await store.upsert([item("good"), bad])
        assert (await store.stats()).counts == {}

    @pytest.mark.asyncio
    async def test_metadata_is_limited_to_the_byte(self, store: VectorIndex) -> None:
        """40 960 bytes of compact JSON are kept, one more is ``TooLarge`` and says which field is the largest."""
        most = 40_960 - len('{"a":"","é":1}'.encode())
        await store.upsert([item("a", 1, a="x" * most, é=1)])
        with pytest.raises(TooLarge) as caught:
            await store.upsert([item("b", 1, é=1, a="x" * (most + 1))])
        assert (caught.value.limit, caught.value.actual) == (40_960, 40_961)
        assert next(iter(caught.value.breakdown)) == "a"
        assert await found(store) == ["a"]

    # Namespaces.

    @pytest.mark.asyncio
    async def test_namespaces_are_apart(self, store: VectorIndex) -> None:
        """The same id may be in several namespaces; every operation keeps to the one it names."""
        await store.upsert([item("a", 1, x=1)])
        await store.upsert([item("a", 2, x=2), item("b", 1)], namespace="other")
        await store.update("a", set={"x": 3}, namespace="other")
        assert [match.metadata["x"] for match in await search(store)] == [1]
        assert [match.namespace for match in await search(store, namespace="other")] == ["other"] * 2
        await store.delete(all=True, namespace="other")
        assert (await found(store), await found(store, namespace="other")) == (["a"], [])
        assert (await store.stats()).counts == {"default": 1}

    @pytest.mark.asyncio
    async def test_the_default_namespace_has_three_names(self, store: VectorIndex) -> None:
        """``""`` and ``"__default__"`` are the namespace ``"default"``, in and out."""
        await store.upsert([item("a")], namespace="")
        await store.upsert([item("b", 2)], namespace="__default__")
        for name in ("", "__default__", "default"):
            assert [match.namespace for match in await search(store, namespace=name)] == ["default"] * 2
            assert (await store.list_ids(namespace=name)).ids == ["a", "b"]
        assert (await store.stats()).counts == {"default": 2}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["é", "a\n", "x" * 513])
    async def test_a_bad_namespace_is_refused(self, store: VectorIndex, name: str) -> None:
        """A namespace keeps to the rules of ids, on every operation."""
        for call in (
            store.upsert([item("a")], namespace=name),
            store.update("a", namespace=name),
            store.delete(all=True, namespace=name),
            store.fetch(["a"], namespace=name),
            store.list_ids(namespace=name),
            store.scan(namespace=name),
        ):
            with pytest.raises(InvalidKey):
                await call


def _typed(metadata: Mapping[str, MetadataValue]) -> dict[str, tuple[type, MetadataValue]]:
    return {key: (type(value), value) for key, value in metadata.items()}
