"""What a vector index promises beyond one process: items outlive it, and several processes may write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from storycore.errors import SchemaConflict, SchemaMismatch
from storycore.filters import F
from storycore.ports.capabilities import Durability
from storycore.ports.vectors import VectorIndex
from storycore.testing.harness import Harness
from storycore.testing.machines import outcome
from storycore.testing.processes import Child, Line, child
from storycore.testing.vector_examples import DIMENSION, crowd, found, item, search, search_words
from storycore.testing.vector_settling import settled
from storycore.testing.vector_texts import library

__all__ = ["VectorDurability", "durable"]

HERE: Final = "storycore.testing.vector_durability"
TURNS: Final = 8


class VectorDurability:
    """The part of the VectorIndex suite that closes and races."""

    @pytest.mark.asyncio
    async def test_everything_is_there_after_opening_again(self, harness: Harness) -> None:
        """Items, namespaces, removals and updates outlive closing where durability is claimed."""
        store = await durable(harness)
        await store.upsert(crowd(50))
        await store.upsert(crowd(20, seed=9), namespace="n2")
        await store.update("c0007", set={"n": -1}, unset=["kind"])
        await store.delete(where=F.kind == "k1")
        asked = {"top_k": 1000, "include_values": True}
        before = await search(store, 1, 2, **asked), await search(store, 1, 2, namespace="n2", **asked)
        counts = (await store.stats()).counts
        await store.close()
        async with await harness.started() as store:
            after = await search(store, 1, 2, **asked), await search(store, 1, 2, namespace="n2", **asked)
            assert (before, counts) == (after, (await store.stats()).counts)

    @pytest.mark.asyncio
    async def test_types_outlive_closing(self, harness: Harness) -> None:
        """A field has the same type after opening again, also when no item has it any more."""
        store = await durable(harness, "vectors.field_types")
        await store.upsert([item("a", 1, x=1), item("b", 1, y="t")])
        await store.upsert([item("a", 1, x="t")], namespace="other")
        await store.delete(ids=["a"])
        await store.close()
        async with await harness.started() as store:
            for bad in (item("c", 1, x="t"), item("c", 1, y=1)):
                with pytest.raises(SchemaConflict):
                    await store.upsert([bad])
            await store.upsert([item("c", 1, x="u")], namespace="other")
            await store.upsert([item("c", 1, x=2, y="u")])
            assert await found(store) == ["b", "c"]

    @pytest.mark.asyncio
    async def test_words_outlive_closing(self, harness: Harness) -> None:
        """Search by words has the same results after opening again, behind changes of every kind."""
        store = await durable(harness, "vectors.text")
        names = [each.id for each in library(40, seed=1)]
        await store.upsert(library(40, seed=1))
        await store.update(names[0], set={"text": "bar bar"})
        await store.update_where(F.kind == "k1", set={"text": "bas"})
        await store.delete(ids=names[5:9])
        before = [await search_words(store, text, top_k=100) for text in ("bar", "bas", "dat fet")]
        await store.close()
        async with await harness.started() as store:
            assert before == [await search_words(store, text, top_k=100) for text in ("bar", "bas", "dat fet")]

    @pytest.mark.asyncio
    async def test_a_token_outlives_closing(self, harness: Harness) -> None:
        """A token from before closing still names its write after opening again."""
        store = await durable(harness, "vectors.at_least")
        token = (await store.upsert([item("a")])).token
        await store.close()
        async with await harness.started() as store:
            assert [match.id for match in await search(store, at_least=token)] == ["a"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "other", [{"dimension": DIMENSION + 1}, {"metric": "euclidean"}, {"embedding": "model-b"}], ids=str
    )
    async def test_another_specification_is_a_mismatch(self, harness: Harness, other: dict[str, object]) -> None:
        """Opening with another dimension, metric or model is refused, and the error says both."""
        store = await durable(harness, embedding="model-a")
        await store.close()
        [asked] = other.values()
        with pytest.raises(SchemaMismatch, match=str(asked)) as caught:
            await harness.make(**{"embedding": "model-a", **other}).open()
        assert "model-a" in caught.value.message

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "other", [{"dimension": DIMENSION + 1}, {"metric": "euclidean"}, {"embedding": "model-b"}], ids=str
    )
    async def test_another_specification_is_a_difference(self, harness: Harness, other: dict[str, object]) -> None:
        """Provisioning for another dimension, metric or model names the difference, and leaves the index as it is."""
        store = await durable(harness, embedding="model-a")
        await store.upsert([item("a")])
        await store.close()
        [asked] = other.values()
        for dry_run in (True, False):
            planned = await harness.make(**{"embedding": "model-a", **other}).ensure(dry_run=dry_run)
            [difference] = planned.differences
            assert list(planned.actions) == []
            assert "model-a" in difference
            assert str(asked) in difference
        assert list((await harness.make(embedding="model-a").ensure(dry_run=True)).differences) == []
        async with harness.make(embedding="model-a") as store:
            assert await found(store) == ["a"]

    @pytest.mark.asyncio
    async def test_an_unnamed_model_takes_the_stored_one(self, harness: Harness) -> None:
        """Opening without a model accepts the index as it is and tells whose vectors it holds."""
        store = await durable(harness, embedding="model-a")
        await store.close()
        async with harness.make() as store:
            assert store.spec.embedding == "model-a"

    @pytest.mark.asyncio
    async def test_a_process_sees_what_another_wrote(self, harness: Harness) -> None:
        """Upserts, updates, removals and upkeep in one process are seen by the next query in another."""
        store = await _shared(harness)
        async with child(harness, f"{HERE}:_obey") as other:
            assert await other.hear() == "ready"
            await store.upsert([item("a", 1, x=1), item("b", 0, 1, x=1)])
            assert await _ask(other) == ["a", "b"]
            await store.update("a", set={"x": 2})
            await store.delete(ids=["b"])
            await store.upsert([item("c", 1, x=3)])
            await store.optimize()
            assert await _ask(other) == ["a", "c"]
            other.say("write")
            assert await other.hear() == "written"
            assert await found(store) == ["a", "c", "other"]
            assert await found(store, F.x == 2) == ["a"]
        await store.close()

    @pytest.mark.asyncio
    async def test_processes_agree_on_types(self, harness: Harness) -> None:
        """The type that one process gave a field holds in another, and what one forgot the other may give anew."""
        store = await _shared(harness, "vectors.field_types")
        async with child(harness, f"{HERE}:_obey") as other:
            assert await other.hear() == "ready"
            await store.upsert([item("a", 1, x=1)])
            other.say("write")
            assert await other.hear() == "written"
            with pytest.raises(SchemaConflict):
                await store.upsert([item("a", 1, by=1)])
            await store.delete(all=True)
            await store.upsert([item("a", 1, by=1)])
            other.say("write")
            assert await other.hear() == "SchemaConflict"
            assert await found(store) == ["a"]
        await store.close()

    @pytest.mark.asyncio
    async def test_a_large_call_refuses_no_other_writer(self, harness: Harness) -> None:
        """While one changes all items by filter again and again, another writes: all of it is done."""
        store = await _shared(harness)
        await store.upsert([item(f"i{n:03d}", n + 1, 1, n=n, text="river mill") for n in range(300)])
        async with harness.make() as other:
            large = asyncio.create_task(_sweep(store, rounds=3))
            for n in range(12):
                await other.upsert([item(f"other{n:02d}", 1, other=n)])
            await large
            assert await found(other, F.other >= 0) == [f"other{n:02d}" for n in range(12)]
            assert await found(other, F.round == 2) == [f"i{n:03d}" for n in range(200)]
            assert await found(other, F.n >= 200) == []
        await store.close()

    @pytest.mark.asyncio
    async def test_processes_write_side_by_side(self, harness: Harness) -> None:
        """Two processes and this one write at the same time; nothing is lost, and whole calls stay whole."""
        store = await _shared(harness)
        async with child(harness, f"{HERE}:_race", "p") as one, child(harness, f"{HERE}:_race", "q") as two:
            assert [await one.hear(), await two.hear()] == ["ready"] * 2
            one.say("go")
            two.say("go")
            for n in range(TURNS):
                await store.upsert([item(f"here{n:02d}"), item("shared", 1, by="here")])
            assert [await one.hear(), await two.hear()] == ["done"] * 2
        expected = sorted(["shared", *(f"{who}{n:02d}" for who in ("here", "p", "q") for n in range(TURNS))])
        assert expected == await found(store)
        await store.close()
        async with await harness.started() as store:
            assert expected == await found(store)


async def durable(harness: Harness, *features: str, **overrides: object) -> VectorIndex:
    """The opened index, or a visible skip where nothing outlives the process or a feature is not claimed."""
    store: VectorIndex = await harness.started(**overrides)
    is_durable = store.capabilities.guarantees.durability is not Durability.PROCESS
    return await _claimed(store, {"durability beyond the process": is_durable}, features)


async def _shared(harness: Harness, *features: str) -> VectorIndex:
    store: VectorIndex = await harness.started()
    return await _claimed(store, {"several processes": store.capabilities.guarantees.multi_process}, features)


async def _claimed(store: VectorIndex, needs: Mapping[str, bool], features: Sequence[str]) -> VectorIndex:
    """The index, or a skip that leaves nothing open."""
    has = store.capabilities.has
    missing = [need for need, is_met in {**needs, **{name: has(name) for name in features}}.items() if not is_met]
    if missing:
        await store.close()
        pytest.skip(f"not claimed: {missing[0]}")
    return store


async def _sweep(store: VectorIndex, *, rounds: int) -> None:
    """Change all numbered items by filter, and at last remove those from 200 on."""
    for number in range(rounds):
        await store.update_where(F.n >= 0, set={"round": number})
    await store.delete(where=F.n >= 200)


async def _ask(other: Child) -> list[str]:
    other.say("ask")
    ids: list[str] = await other.hear()
    return ids


async def _obey(raw: VectorIndex, line: Line) -> None:
    """Answer "ask" with all ids, and "write" by writing one item, or with the error that it met."""
    store = settled(raw)
    line.say("ready")
    while True:
        if line.hear() == "ask":
            line.say(await found(store))
        else:
            wrote = await outcome(store.upsert([item("other", 1, by="other")]))
            line.say(wrote.__name__ if isinstance(wrote, type) else "written")


async def _race(raw: VectorIndex, line: Line, who: str) -> None:
    """Report readiness, wait for the start, write, and report the end."""
    store = settled(raw)
    line.say("ready")
    line.hear()
    for n in range(TURNS):
        await store.upsert([item(f"{who}{n:02d}"), item("shared", 1, by=who)])
    line.say("done")
    line.hear()
