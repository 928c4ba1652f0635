"""What a vector index promises about write tokens and about the plan of a query: kept, or refused, never ignored."""

from __future__ import annotations

import asyncio

import pytest

from storycore.errors import InvalidArgument, NotFound, StaleRead, Unsupported
from storycore.filters import F
from storycore.ports.vectors import QueryPlan, TextQuery, VectorIndex, VectorQuery, WriteToken
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import crowd, found, item, search, vector
from storycore.testing.vector_oracle import best, holds
from storycore.testing.vector_settling import unsettled

__all__ = ["VectorTokens"]

_PATIENCE_SECONDS = 20.0


class VectorTokens:
    """The part of the VectorIndex suite that names writes and asks for plans."""

    @pytest.mark.asyncio
    async def test_a_query_sees_the_write_that_it_names(self, store: VectorIndex) -> None:
        """``at_least`` with any write's token sees that write, or is ``Unsupported`` where it is not claimed."""
        raw = unsettled(store)
        token = (await raw.upsert([item("a", 1, x=1)])).token
        if not store.capabilities.has("vectors.at_least"):
            with pytest.raises(Unsupported):
                await search(raw, at_least=token)
            return
        assert await _metadata(raw, token) == [{"x": 1}]
        assert await _metadata(raw, await raw.update("a", set={"x": 2})) == [{"x": 2}]
        assert await _metadata(raw, (await raw.update_where(F.x == 2, set={"y": "z"})).token) == [{"x": 2, "y": "z"}]
        assert await _metadata(raw, (await raw.delete(where=F.x == 3)).token) == [{"x": 2, "y": "z"}]
        assert await _metadata(raw, (await raw.delete(ids=["a"])).token) == []
        assert await _metadata(raw, (await raw.upsert([item("b", 1, x=7)])).token) == [{"x": 7}]
        assert await _metadata(raw, (await raw.delete(all=True)).token) == []

    @pytest.mark.asyncio
    async def test_an_older_token_sees_newer_writes_too(self, harness: Harness, store: VectorIndex) -> None:
        """A token says "at least": it goes on being honoured when more was written."""
        harness.require(store, "vectors.at_least")
        first = (await store.upsert([item("a")])).token
        await store.upsert([item("b")])
        assert [match.id for match in await search(store, at_least=first)] == ["a", "b"]

    @pytest.mark.asyncio
    async def test_a_token_of_the_future_is_a_stale_read(self, harness: Harness, store: VectorIndex) -> None:
        """A token of a write that this index has not seen is never taken for one of its own; a text is no token."""
        harness.require(store, "vectors.at_least")
        token = await _foreign(harness)
        with pytest.raises((StaleRead, InvalidArgument)):
            await search(store, at_least=token)
        with pytest.raises(InvalidArgument):
            await search(store, at_least=WriteToken("no token"))

    @pytest.mark.asyncio
    async def test_an_adapter_looks_once(self, harness: Harness, store: VectorIndex) -> None:
        """However long a query may wait, the adapter itself answers at once; waiting is done above it."""
        harness.require(store, "vectors.at_least")
        token = await _foreign(harness)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            with pytest.raises((StaleRead, InvalidArgument)):
                await search(store, at_least=token, wait=3600)
            with pytest.raises((StaleRead, InvalidArgument)):
                await search(store, at_least=token, wait=0)

    @pytest.mark.asyncio
    async def test_a_search_by_words_sees_the_write_that_it_names(self, harness: Harness, store: VectorIndex) -> None:
        """``at_least`` means the same to a search by words as to a query."""
        harness.require(store, "vectors.text")
        harness.require(store, "vectors.at_least")
        token = (await store.upsert([item("a", text="river")])).token
        [matches] = await store.search_text([TextQuery(text="river", at_least=token)])
        assert [match.id for match in matches] == ["a"]
        with pytest.raises((StaleRead, InvalidArgument)):
            await store.search_text([TextQuery(text="river", at_least=await _foreign(harness))])

    # Plans.

    @pytest.mark.asyncio
    async def test_a_plan_is_claimed_or_refused(self, store: VectorIndex) -> None:
        """``explain`` gives a plan where it is claimed, and is ``Unsupported`` elsewhere."""
        query = VectorQuery(values=vector(1))
        if not store.capabilities.has("vectors.explain"):
            with pytest.raises(Unsupported):
                await store.explain(query)
            return
        plan = await store.explain(query)
        assert (QueryPlan, True) == (type(plan), bool(plan.way) and " " not in plan.way)

    @pytest.mark.asyncio
    async def test_a_plan_tells_true_numbers(self, harness: Harness, store: VectorIndex) -> None:
        """``candidates`` and ``total`` are what namespace and filter hold, where they are told."""
        harness.require(store, "vectors.explain")
        items = crowd(60)
        await store.upsert(items)
        await store.upsert(crowd(25, seed=3), namespace="other")
        for where in (None, F.kind == "k1", F.n >= 50, ~F.n.exists()):
            plan = await store.explain(VectorQuery(values=vector(1, 2), where=where))
            assert plan.total in (None, 60)
            assert plan.candidates in (None, sum(holds(where, each.metadata) for each in items))
        plan = await store.explain(VectorQuery(values=vector(1), namespace="unknown"))
        assert (plan.total in (None, 0), plan.candidates in (None, 0)) == (True, True)

    @pytest.mark.asyncio
    async def test_a_plan_that_is_not_approximate_is_kept(self, harness: Harness) -> None:
        """Where ``approximate`` is false the answer is the exact one, and it is false for ``exact=True``."""
        async with await harness.started(metric="dot") as store:
            harness.require(store, "vectors.explain")
            items = crowd(300)
            await store.upsert(items)
            for where in (None, F.kind == "k1", F.n >= 290):
                query = VectorQuery(values=vector(1, 2, -1, 1), where=where, top_k=30)
                if store.capabilities.has("vectors.exact"):
                    exact = VectorQuery(values=vector(1, 2, -1, 1), where=where, top_k=30, exact=True)
                    assert (await store.explain(exact)).approximate is False
                if not (await store.explain(query)).approximate:
                    [matches] = await store.query([query])
                    scores = [score for _, score in best(items, "dot", [1, 2, -1, 1], where)[:30]]
                    assert scores == pytest.approx([match.score for match in matches], rel=1e-5, abs=1e-5)

    @pytest.mark.asyncio
    async def test_a_plan_needs_what_the_query_needs(self, harness: Harness, store: VectorIndex) -> None:
        """A query that would fail fails in ``explain`` as well, and explaining changes nothing."""
        harness.require(store, "vectors.explain")
        await store.upsert([item("a")])
        assert (await store.explain(VectorQuery(id="a"))).total in (None, 1)
        with pytest.raises(NotFound):
            await store.explain(VectorQuery(id="unknown"))
        with pytest.raises(InvalidArgument):
            await store.explain(VectorQuery(values=vector(1), top_k=0))
        assert await found(store) == ["a"]


async def _metadata(store: VectorIndex, token: WriteToken) -> list[object]:
    """The metadata of all items, once the write is seen: one look for each time that the index says it is not."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            try:
                return [match.metadata for match in await search(store, at_least=token)]
            except StaleRead:
                assert not store.capabilities.guarantees.read_after_write, "a write that returned is not seen"
            await asyncio.sleep(0.001)


async def _foreign(harness: Harness) -> WriteToken:
    """The token of the third write to another index."""
    async with await harness.fresh().started() as other:
        tokens = [(await other.upsert([item("a")])).token for _ in range(3)]
    return WriteToken(tokens[-1])
