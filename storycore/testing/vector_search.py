"""What a vector index promises about search: scores, order, counts and filters."""

from __future__ import annotations

import random
from array import array
from dataclasses import replace
from typing import Any, get_args

import pytest

from storycore.errors import InvalidFilter, NotFound, Unsupported
from storycore.filters import F, to_dict
from storycore.ports.filters import Not
from storycore.ports.vectors import Metric, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import FILTERS, MIXED, crowd, found, item, random_filter, search
from storycore.testing.vector_examples import vector as numbers
from storycore.testing.vector_oracle import best, holds, similarity
from storycore.testing.vector_refusals import BAD_QUERIES

__all__ = ["VectorSearch"]

METRICS: tuple[Metric, ...] = get_args(Metric)
EXPECTED: dict[Metric, list[tuple[str, float]]] = {
    "cosine": [("near", 1.0), ("far", 0.6), ("across", 0.0), ("behind", -1.0)],
    "dot": [("far", 6.0), ("near", 0.5), ("across", 0.0), ("behind", -2.0)],
    "euclidean": [("near", -0.25), ("across", -2.0), ("behind", -9.0), ("far", -89.0)],
}
PLACES = [item("near", 0.5), item("far", 6, 8), item("across", 0, 1), item("behind", -2)]


class VectorSearch:
    """The part of the VectorIndex suite that searches."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", METRICS)
    async def test_scores_mean_the_same_everywhere(self, harness: Harness, metric: Metric) -> None:
        """Higher is better on every metric: cosine, inner product, negated squared distance."""
        async with await harness.started(metric=metric) as store:
            await store.upsert(PLACES)
            matches = await search(store, 1)
        assert [id_ for id_, _ in EXPECTED[metric]] == [match.id for match in matches]
        assert [score for _, score in EXPECTED[metric]] == pytest.approx([m.score for m in matches], abs=1e-5)

    @pytest.mark.asyncio
    async def test_a_cosine_never_leaves_its_range(self, store: VectorIndex) -> None:
        """An item that is the query scores 1 and its opposite -1, never beyond, whatever their lengths."""
        steep = [0.1, 0.7, 1.3e-3, 1e-20]
        await store.upsert([VectorItem("same", _scaled(steep, 3e-8)), VectorItem("opposite", _scaled(steep, -2e30))])
        scores = [match.score for match in await search(store, *steep)]
        assert pytest.approx(scores, abs=1e-5) == [1.0, -1.0]
        assert all(-1 <= score <= 1 for score in scores)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", METRICS)
    async def test_vectors_of_any_size_are_told_apart(self, harness: Harness, metric: Metric) -> None:
        """Very long and very short vectors are ranked as their exact scores say, with no NaN on the way."""
        chance = random.Random(3)
        items = [
            VectorItem(f"i{n}", _scaled([chance.uniform(0.1, 1) for _ in range(4)], 10.0 ** chance.choice([-6, 0, 19])))
            for n in range(300)
        ]
        async with await harness.started(metric=metric) as store:
            await store.upsert(items)
            for size in (1e-7, 1.0, 1e18):
                matches = await search(store, size, size / 3, top_k=20)
                target = array("f", numbers(size, size / 3))
                exact = {i.id: similarity(metric, target, array("f", i.values)) for i in items}
                highest = sorted(exact.values(), reverse=True)[:20]
                assert highest == pytest.approx([exact[m.id] for m in matches], rel=1e-5, abs=1e-30), size
                assert highest == pytest.approx([m.score for m in matches], rel=1e-5, abs=1e-5), size

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", METRICS)
    async def test_equal_scores_are_ordered_by_id(self, harness: Harness, metric: Metric) -> None:
        """Among items with the same vector the first ids come first, also where the count cuts through them."""
        async with await harness.started(metric=metric) as store:
            harness.require(store, "vectors.exact")
            names = [f"i{n:03d}" for n in range(330)]
            random.Random(5).shuffle(names)
            await store.upsert([item(name, 1, 2) for name in names] + [item("a-best", 2, 4.5), item("z-last", -1)])
            for count in (1, 2, 30, 299, 331):
                ids = [match.id for match in await search(store, 1, 2, top_k=count)]
                ranked = ["a-best", *sorted(names)] if metric == "dot" else [*sorted(names), "a-best"]
                assert ranked[:count] == ids

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", ["dot", "euclidean"])
    async def test_a_crowd_is_ranked_exactly(self, harness: Harness, metric: Metric) -> None:
        """Among many items with few different scores every count of results is the exact one, with any filter."""
        items = crowd(700)
        async with await harness.started(metric=metric) as store:
            harness.require(store, "vectors.exact")
            await store.upsert(items)
            await store.delete(ids=[i.id for i in items[:100]])
            for where in (None, F.kind == "k1", F.tags.contains("t3"), F.n >= 300, F.n < 104, ~(F.even == True)):  # noqa: E712
                exact = best(items[100:], metric, [1, 2, -1, 1], where)
                for count in (1, 7, 50, 5000):
                    matches = await search(store, 1, 2, -1, 1, top_k=count, where=where, exact=True)
                    assert exact[:count] == [(match.id, match.score) for match in matches], (where, count)

    @pytest.mark.asyncio
    async def test_a_query_gives_as_many_as_there_are_and_no_more(self, store: VectorIndex) -> None:
        """``min(top_k, matching items)`` results, each once; an empty or unknown namespace gives none."""
        assert await search(store) == []
        await store.upsert([item(f"i{n}", n + 1, 1, n=n) for n in range(10)])
        for count in (1, 3, 10, 11, 10_000):
            ids = [match.id for match in await search(store, top_k=count)]
            assert (min(count, 10), len(ids)) == (len(set(ids)), len(ids))
        for where in (F.n >= 7, F.n < 3):
            assert len(await search(store, where=where, top_k=5)) == 3
        assert await search(store, namespace="unknown") == []

    @pytest.mark.asyncio
    async def test_queries_of_one_call_are_answered_in_their_order(self, store: VectorIndex) -> None:
        """One list per query, each for itself; no queries give no lists."""
        await store.upsert([item("x", 1), item("y", 0, 1), item("z", 0, 0, 1)])
        asked = [VectorQuery(values=numbers(*([0] * n + [1])), top_k=1) for n in (2, 0, 1, 0)]
        assert [[m.id for m in matches] for matches in await store.query(asked)] == [["z"], ["x"], ["y"], ["x"]]
        assert await store.query([]) == []

    @pytest.mark.asyncio
    async def test_a_stored_vector_can_ask(self, store: VectorIndex) -> None:
        """A query by id uses that item's vector, finds the item itself, and fails when it is not stored."""
        await store.upsert([item("x", 1, 1), item("y", 3, 3.5), item("z", -1)])
        assert [match.id for match in await search(store, id="x")] == ["x", "y", "z"]
        for place in ({"id": "unknown"}, {"id": "x", "namespace": "other"}):
            with pytest.raises(NotFound):
                await search(store, **place)

    @pytest.mark.asyncio
    async def test_matches_carry_vectors_only_when_asked(self, store: VectorIndex) -> None:
        """``include_values`` gives the stored vector bit by bit; else ``None``. Metadata comes along."""
        await store.upsert([item("x", 0.1, -3, 1e-7, 5, tag="t")])
        [plain], [full] = await search(store), await search(store, include_values=True)
        assert (plain.values, plain.metadata, plain.namespace) == (None, {"tag": "t"}, "default")
        assert array("f", [0.1, -3, 1e-7, 5]) == full.values

    @pytest.mark.asyncio
    async def test_matches_come_without_metadata_when_asked(self, store: VectorIndex) -> None:
        """``include_metadata=False`` gives empty metadata, however the query is put; else all is there."""
        await store.upsert([item("x", 1, tag="t"), item("y", 2, tag="u")])
        for query in ({}, {"where": F.tag == "t"}, {"id": "x"}, {"include_values": True}, {"min_score": 0}):
            asked: Any = query
            bare, full = await search(store, include_metadata=False, **asked), await search(store, **asked)
            assert [{}] * len(full) == [match.metadata for match in bare]
            assert all(match.metadata for match in full)
            assert [replace(match, metadata={}) for match in full] == bare

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", METRICS)
    async def test_min_score_keeps_what_reaches_it(self, harness: Harness, metric: Metric) -> None:
        """Only items that score at least ``min_score`` are found, on every metric."""
        async with await harness.started(metric=metric) as store:
            await store.upsert(PLACES)
            for least in (-100, -5, -1.5, -0.1, 0.3, 0.9, 5, 7):
                ids = [match.id for match in await search(store, 1, min_score=least)]
                assert [id_ for id_, score in EXPECTED[metric] if score >= least] == ids, least

    @pytest.mark.asyncio
    async def test_min_score_includes_its_bound(self, harness: Harness) -> None:
        """A score that equals ``min_score`` is enough."""
        async with await harness.started(metric="dot") as store:
            harness.require(store, "vectors.exact")
            await store.upsert([item("x", 2), item("y", 3)])
            assert [match.id for match in await search(store, 1, min_score=3)] == ["y"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", FILTERS)
    async def test_filters_are_exact_and_two_valued(self, store: VectorIndex, name: str) -> None:
        """A filter, its opposite and its dict form choose what the reference evaluator says, in queries and scans."""
        await store.upsert([item(f"i{n:02d}", n + 1, 1, **fields) for n, fields in enumerate(MIXED)])
        filter_ = FILTERS[name]
        for where in (filter_, Not(filter_)):
            expected = [f"i{n:02d}" for n, fields in enumerate(MIXED) if holds(where, fields)]
            asked: Any = to_dict(where)
            assert expected == await found(store, where)
            assert expected == await found(store, asked)
            assert expected == [each.id for each in (await store.scan(where=where, limit=1000)).items]

    @pytest.mark.asyncio
    async def test_any_filter_agrees_with_the_reference(self, store: VectorIndex) -> None:
        """Filters of every shape choose what the evaluator says, over live items only."""
        chance = random.Random(11)
        fields = [chance.choice(MIXED) for _ in range(60)]
        await store.upsert([item(f"i{n:02d}", n + 1, 1, **each) for n, each in enumerate(fields)])
        await store.delete(ids=[f"i{n:02d}" for n in range(0, 60, 3)])
        await store.upsert([item(f"i{n:02d}", 1, **fields[n]) for n in range(0, 60, 6)])
        live = [n for n in range(60) if n % 3 or not n % 6]
        for _ in range(120):
            where = random_filter(chance)
            assert [f"i{n:02d}" for n in live if holds(where, fields[n])] == await found(store, where), where

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_QUERIES)
    async def test_a_bad_query_is_refused(self, store: VectorIndex, name: str) -> None:
        """A query that no adapter could answer is refused before any I/O, with the same error everywhere."""
        arguments, error = BAD_QUERIES[name]
        with pytest.raises(error):
            await store.query([VectorQuery(**arguments)])

    @pytest.mark.asyncio
    async def test_a_bad_filter_says_where(self, store: VectorIndex) -> None:
        """``InvalidFilter`` names the path of what is wrong."""
        asked: Any = {"$and": [{"a": 1}, {"year": {"$gte": "x"}}]}
        with pytest.raises(InvalidFilter, match=r"\$and\[1\]\.year\.\$gte"):
            await search(store, where=asked)

    @pytest.mark.asyncio
    async def test_exact_is_kept_or_refused(self, store: VectorIndex) -> None:
        """``exact=True`` is answered where it is claimed, and ``Unsupported`` elsewhere; never ignored."""
        await store.upsert([item("a")])
        if store.capabilities.has("vectors.exact"):
            assert [match.id for match in await search(store, exact=True)] == ["a"]
        else:
            with pytest.raises(Unsupported):
                await search(store, exact=True)


def _scaled(values: list[float], by: float) -> Any:  # a plain list, as callers hand it in
    return [value * by for value in values]
