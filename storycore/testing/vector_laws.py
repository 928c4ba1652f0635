"""Laws that hold in every vector index whatever it stores: of filters, asked through queries, and of results."""

from __future__ import annotations

import random
from typing import Any, Final, get_args

import pytest
from hypothesis import strategies as st

from storycore.filters import F, as_filter, to_dict
from storycore.ports.filters import And, Eq, Filter, In, Not, Or
from storycore.ports.vectors import Match, Metric, VectorIndex, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.properties import for_all
from storycore.testing.vector_examples import MIXED, crowd, found, item, search, search_words
from storycore.testing.vector_oracle import agree, best, holds
from storycore.testing.vector_strategies import FILTERS, VECTORS

__all__ = ["VectorLaws"]

EXAMPLES: Final = 30
METRICS: tuple[Metric, ...] = get_args(Metric)
_NAMES = [f"i{n:02d}" for n in range(24)]


class VectorLaws:
    """The part of the VectorIndex suite that states laws."""

    # Of filters.

    @pytest.mark.asyncio
    async def test_not_is_the_exact_complement(self, harness: Harness, store: VectorIndex) -> None:
        """A filter and its opposite divide all items, and not-not is nothing."""
        fields = await _filled(store)

        async def check(where: Filter) -> None:
            chosen, left = await found(store, where), await found(store, Not(where))
            assert sorted([*chosen, *left]) == _NAMES
            assert chosen == await found(store, Not(Not(where))) == await found(store, ~~where)
            assert chosen == [name for name in _NAMES if holds(where, fields[name])]

        await for_all(check, examples=harness.fitting(None, EXAMPLES), where=FILTERS)

    @pytest.mark.asyncio
    async def test_de_morgan_holds(self, harness: Harness, store: VectorIndex) -> None:
        """Not-and is or of nots, not-or is and of nots, and both are what the sets say."""
        await _filled(store)

        async def check(one: Filter, two: Filter) -> None:
            first, second = set(await found(store, one)), set(await found(store, two))
            assert sorted(first & second) == await found(store, And((one, two)))
            assert sorted(first | second) == await found(store, Or((one, two)))
            assert await found(store, Not(And((one, two)))) == await found(store, Or((Not(one), Not(two))))
            assert await found(store, Not(Or((one, two)))) == await found(store, And((Not(one), Not(two))))

        await for_all(check, examples=harness.fitting(None, EXAMPLES), one=FILTERS, two=FILTERS)

    @pytest.mark.asyncio
    async def test_the_dict_form_means_the_same(self, harness: Harness, store: VectorIndex) -> None:
        """A filter, its dict, and the filter read from that dict choose the same items."""
        await _filled(store)

        async def check(where: Filter) -> None:
            asked: Any = to_dict(where)
            chosen = await found(store, where)
            assert chosen == await found(store, asked) == await found(store, as_filter(asked))

        await for_all(check, examples=harness.fitting(None, EXAMPLES), where=FILTERS)

    @pytest.mark.asyncio
    async def test_negated_operators_are_negations(self, harness: Harness, store: VectorIndex) -> None:
        """``$ne`` is not-``$eq``, ``$nin`` is not-``$in``, and ``$in`` is an or of ``$eq``."""
        await _filled(store)
        values = st.lists(st.sampled_from([-3.5, 0, 1, 2, True, False, "", "1", "a", "b"]), min_size=1, max_size=4)

        async def check(field: str, listed: list[Any]) -> None:
            for asked, same in (
                ({"$ne": listed[0]}, Not(Eq(field, listed[0]))),
                ({"$nin": listed}, Not(In(field, tuple(listed)))),
                ({"$in": listed}, Or(tuple(Eq(field, value) for value in listed))),
                ({"$nin": listed}, And(tuple(Not(Eq(field, value)) for value in listed))),
            ):
                where: Any = {field: asked}
                assert await found(store, where) == await found(store, same)

        fields = st.sampled_from(["x", "y", "b", "nowhere"])
        await for_all(check, examples=harness.fitting(None, EXAMPLES), field=fields, listed=values)

    # Of results.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metric", METRICS)
    async def test_results_agree_with_the_definition(self, harness: Harness, metric: Metric) -> None:
        """For any vector, filter and count the results are those of a plain pass over everything."""
        items = crowd(80)
        async with await harness.started(metric=metric) as store:
            await store.upsert(items)
            filters = st.none() | st.sampled_from(
                [F.kind == "k1", F.n >= 70, ~(F.even == True), F.tags.contains("t3") | (F.n < 9), F.n > 99]  # noqa: E712
            )

            async def check(values: Any, where: Filter | None, top_k: int) -> None:
                whole = best(items, metric, values, where)
                agree(whole, await search(store, *values, where=where, top_k=top_k), top_k)

            counts = st.integers(1, 90)
            examples = harness.fitting(None, EXAMPLES)
            await for_all(check, examples=examples, values=VECTORS, where=filters, top_k=counts)

    @pytest.mark.asyncio
    async def test_more_results_begin_with_the_fewer(self, harness: Harness, store: VectorIndex) -> None:
        """The best k are the beginning of the best k + 1; where ties are open at the end, by their scores."""
        await store.upsert(crowd(60))
        is_exact = store.capabilities.has("vectors.exact")

        async def check(values: Any, count: int) -> None:
            fewer, more = await search(store, *values, top_k=count), await search(store, *values, top_k=count + 1)
            assert len(more) == min(60, count + 1)
            assert [m.score for m in fewer] == pytest.approx([m.score for m in more[:count]], rel=1e-5, abs=1e-5)
            if is_exact:
                assert [m.id for m in fewer] == [m.id for m in more[:count]]

        await for_all(check, examples=harness.fitting(None, EXAMPLES), values=VECTORS, count=st.integers(1, 60))

    @pytest.mark.asyncio
    async def test_a_filter_only_leaves_out(self, harness: Harness, store: VectorIndex) -> None:
        """Whoever is found with a filter is found without one, with the same score and in the same order."""
        await _filled(store)

        async def check(values: Any, where: Filter) -> None:
            whole = await search(store, *values, top_k=1000)
            chosen = await search(store, *values, top_k=1000, where=where)
            kept = {match.id for match in chosen}
            assert [match.id for match in whole if match.id in kept] == [match.id for match in chosen]
            scores = [match.score for match in whole if match.id in kept]
            assert scores == pytest.approx([match.score for match in chosen], rel=1e-5, abs=1e-5)

        await for_all(check, examples=harness.fitting(None, EXAMPLES), values=VECTORS, where=FILTERS)

    @pytest.mark.asyncio
    async def test_queries_of_one_call_do_not_touch_each_other(self, harness: Harness, store: VectorIndex) -> None:
        """Asked together, queries have the answers that each has alone."""
        await _filled(store)
        queries = st.lists(
            st.builds(VectorQuery, values=VECTORS, where=st.none() | FILTERS, top_k=st.integers(1, 30)), max_size=4
        )

        async def check(asked: list[VectorQuery]) -> None:
            alone = [(await store.query([query]))[0] for query in asked]
            together = await store.query(asked)
            assert [len(matches) for matches in alone] == [len(matches) for matches in together]
            assert _scores(alone) == pytest.approx(_scores(together), rel=1e-5, abs=1e-5)

        await for_all(check, examples=harness.fitting(None, EXAMPLES), asked=queries)

    @pytest.mark.asyncio
    async def test_other_namespaces_change_nothing(self, store: VectorIndex) -> None:
        """Whatever is written, changed or removed elsewhere leaves the results of a namespace as they were."""
        items = crowd(40)
        await store.upsert(items)
        before = await search(store, 1, 1, top_k=100), (await store.scan(limit=100)).items
        await store.upsert([item(each.id, 5, 5, 5, n=-1) for each in items], namespace="other")
        await store.update_where(F.n == -1, set={"n": 1}, namespace="other")
        await store.delete(ids=["c0000"], namespace="other")
        await store.optimize()
        await store.delete(all=True, namespace="other")
        assert before == (await search(store, 1, 1, top_k=100), (await store.scan(limit=100)).items)

    @pytest.mark.asyncio
    async def test_the_order_of_writing_does_not_matter(self, harness: Harness) -> None:
        """The same items written in another order, in other batches, give the same results, by words too."""
        items = [item(each.id, *each.values, text=str(each.metadata["kind"])) for each in crowd(60)]
        answers: list[tuple[list[Match], list[Match]]] = []
        for order in (items, items[::-1], sorted(items, key=lambda i: i.id)):
            async with await harness.fresh().started() as store:
                for start in range(0, 60, 17):
                    await store.upsert(order[start : start + 17])
                has_text = store.capabilities.has("vectors.text")
                texts = await search_words(store, "k1 k2", top_k=60) if has_text else []
                answers.append((await search(store, 2, 1, 1, top_k=60), texts))
        assert answers[0] == answers[1] == answers[2]


def _scores(answers: list[list[Match]]) -> list[float]:
    return [match.score for matches in answers for match in matches]


async def _filled(store: VectorIndex) -> dict[str, Any]:
    """Store items with fields of every type in two calls, some of them replaced; their metadata by id."""
    chance = random.Random(13)
    fields = {name: dict(chance.choice(MIXED)) for name in _NAMES}
    await store.upsert([item(name, n + 1, 1, x=3) for n, name in enumerate(_NAMES[:9])])
    await store.upsert([item(name, n + 1, 1 + n % 3, **metadata) for n, (name, metadata) in enumerate(fields.items())])
    return fields
