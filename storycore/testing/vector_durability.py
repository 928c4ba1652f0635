"""What a vector index promises beyond one process: items outlive it, and several processes may write."""

from __future__ import annotations

from typing import Final

import pytest

from storycore.errors import SchemaMismatch
from storycore.filters import F
from storycore.ports.capabilities import Durability
from storycore.ports.vectors import VectorIndex
from storycore.testing.harness import Harness
from storycore.testing.processes import Child, Line, child
from storycore.testing.vector_examples import DIMENSION, crowd, found, generations, item, search

__all__ = ["VectorDurability"]

HERE: Final = "storycore.testing.vector_durability"
BATCH: Final = 5
TURNS: Final = 8


class VectorDurability:
    """The part of the VectorIndex suite that closes, kills and races."""

    @pytest.mark.asyncio
    async def test_everything_is_there_after_opening_again(self, harness: Harness) -> None:
        """Items, namespaces, removals and updates outlive closing where durability is claimed."""
        store = await _durable(harness)
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
    async def test_a_token_outlives_closing(self, harness: Harness) -> None:
        """A token from before closing still names its write after opening again."""
        store = await _durable(harness)
        harness.require(store, "vectors.at_least")
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
        store = await _durable(harness, embedding="model-a")
        await store.close()
        [asked] = other.values()
        with pytest.raises(SchemaMismatch, match=str(asked)) as caught:
            await harness.make(**{"embedding": "model-a", **other}).open()
        assert "model-a" in caught.value.message

    @pytest.mark.asyncio
    async def test_an_unnamed_model_takes_the_stored_one(self, harness: Harness) -> None:
        """Opening without a model accepts the index as it is and tells whose vectors it holds."""
        store = await _durable(harness, embedding="model-a")
        await store.close()
        async with harness.make() as store:
            assert store.spec.embedding == "model-a"

    @pytest.mark.asyncio
    async def test_what_was_acknowledged_survives_a_kill(self, harness: Harness) -> None:
        """After a writer is killed every acknowledged call is there, and every call is there whole or not at all."""
        store = await _durable(harness)
        await store.close()
        async with child(harness, f"{HERE}:_write_for_ever") as writer:
            acknowledged = [await writer.hear() for _ in range(25)][-1]
            await writer.kill()
        async with await harness.started() as store:
            matches = await search(store, top_k=100)
            [generation] = generations(matches)
            assert len(matches) == BATCH
            assert acknowledged <= generation <= acknowledged + 1
            assert (await store.health(deep=True)).ok

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


async def _durable(harness: Harness, **overrides: object) -> VectorIndex:
    store: VectorIndex = await harness.started(**overrides)
    if store.capabilities.guarantees.durability is Durability.PROCESS:
        await store.close()
        pytest.skip("not claimed: durability beyond the process")
    return store


async def _shared(harness: Harness) -> VectorIndex:
    store: VectorIndex = await harness.started()
    if not store.capabilities.guarantees.multi_process:
        await store.close()
        pytest.skip("not claimed: several processes")
    return store


async def _ask(other: Child) -> list[str]:
    other.say("ask")
    ids: list[str] = await other.hear()
    return ids


async def _write_for_ever(store: VectorIndex, line: Line) -> None:
    """Replace the same batch by the next generation, and report each once it has returned."""
    generation = 0
    while True:
        await store.upsert([item(f"i{n}", n + 1, 1, generation=generation) for n in range(BATCH)])
        line.say(generation)
        generation += 1


async def _obey(store: VectorIndex, line: Line) -> None:
    """Answer "ask" with all ids, and "write" by writing one item."""
    line.say("ready")
    while True:
        if line.hear() == "ask":
            line.say(await found(store))
        else:
            await store.upsert([item("other")])
            line.say("written")


async def _race(store: VectorIndex, line: Line, who: str) -> None:
    """Report readiness, wait for the start, write, and report the end."""
    line.say("ready")
    line.hear()
    for n in range(TURNS):
        await store.upsert([item(f"{who}{n:02d}"), item("shared", 1, by=who)])
    line.say("done")
    line.hear()
