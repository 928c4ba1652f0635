"""Search in all its modes: by meaning, by words and by both, over namespaces, reranked, bounded, explained."""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
import pytest_asyncio

import storycore
from storycore.errors import ConfigError, InvalidArgument, StaleRead, Unavailable
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.layers.stack import stacked
from storycore.memory.reranker import MemoryReranker
from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.capabilities import Capabilities, Guarantees, Support
from storycore.ports.embeddings import Embedder, EmbeddingSpec, Purpose
from storycore.ports.lifecycle import PortName
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import (
    IndexSpec,
    Match,
    QueryPlan,
    TextQuery,
    Vector,
    VectorIndex,
    VectorItem,
    VectorQuery,
)
from storycore.search import Hit, Mode, Search
from storycore.testing.harness import Harness

MODES: tuple[Mode, ...] = get_args(Mode)
SPEC = EmbeddingSpec("compass", 4, max_tokens=1000, semantic=True)
ITEMS = {
    "a": ("The mill burned in 1737.", [8, 1, 0, 0]),
    "b": ("A fire took the mill and the mill race.", [6, 3, 0, 0]),
    "c": ("Boats sailed the canal.", [0, 8, 1, 0]),
    "d": ("Number 231 lies under the hill.", [0, 0, 8, 2]),
    "e": ("Nothing of note.", [7, 2, 0, 1]),
    "f": ("The canal and the mill are gone.", [1, 7, 3, 0]),
}
"""Text and vector of each item; whole numbers, so that every score is exact and the same on every index."""


class Compass:
    """An embedder that knows a few queries, each with a direction."""

    spec = SPEC
    known: ClassVar[dict[str, list[int]]] = {
        "flames": [1, 0, 0, 0],
        "mill": [0, 1, 0, 0],
        "231": [1, 1, 0, 0],
        "?!": [0, 0, 1, 0],
    }

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.asked += texts
        return [array("f", self.known.get(text, [1, 0, 0, 0])) for text in texts]


class Wordless(MemoryVectorIndex):
    """An index that neither searches by words nor explains, as a service may."""

    @property
    def capabilities(self) -> Capabilities:
        found = super().capabilities
        kept = {name: support for name, support in found.features.items() if name.partition(".")[2] not in _ABSENT}
        return replace(found, features=kept)


_ABSENT = ("text", "explain")


def metadata(name: str) -> dict[str, Any]:
    return {"text": ITEMS[name][0], "even": list(ITEMS).index(name) % 2 == 0, "source": f"{name}.md"}


async def fill(index: VectorIndex, names: Sequence[str] = tuple(ITEMS), **options: Any) -> None:
    await index.upsert([VectorItem(name, array("f", ITEMS[name][1]), metadata(name)) for name in names], **options)


async def opened(stack: AsyncExitStack, inner: MemoryVectorIndex) -> VectorIndex:
    index: VectorIndex = await stack.enter_async_context(
        checked(PortName.VECTORS, stacked(PortName.VECTORS, inner, []))
    )
    return index


@pytest.fixture
def embedder() -> Compass:
    return Compass()


@pytest_asyncio.fixture(params=["memory", "faiss", "wordless"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    async with AsyncExitStack() as stack:
        if request.param == "wordless":
            found = await opened(stack, Wordless(IndexSpec(4, "dot")))
        else:
            harness = Harness(PortName.VECTORS, request.param, {"dimension": 4, "metric": "dot"}, tmp_path)
            found = await harness.started()
            stack.push_async_callback(found.close)
        await fill(found)
        yield found


@pytest_asyncio.fixture
async def reranker() -> AsyncIterator[Reranker]:
    async with checked(PortName.RERANKER, MemoryReranker()) as found:
        yield found


@pytest.fixture
def search(index: VectorIndex, embedder: Compass, reranker: Reranker) -> Search:
    return Search(index, as_embedder(embedder), reranker=reranker)


def as_embedder(compass: Compass) -> Embedder:
    return compass  # type: ignore[return-value]  # the part of the port that search needs


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("query", ["flames", "mill", "231", "?!"])
async def test_every_mode_gives_the_same_on_every_index(search: Search, query: str, mode: Mode) -> None:
    """On exact data the ids and their order do not depend on the index, nor on whether it searches by words itself."""
    assert ids(await search(query, mode=mode, top_k=10)) == await oracle(query, mode)


async def test_words_find_what_meaning_misses(search: Search) -> None:
    """A number that the model knows nothing of is last by meaning, alone by words, and first by both."""
    assert ids(await search("231", mode="dense", top_k=6))[-1] == "d"
    assert ids(await search("231", mode="words")) == ["d"]
    assert ids(await search("231"))[0] == "d"


async def test_a_query_of_unknown_words_is_answered_by_meaning(search: Search) -> None:
    """Words that nobody has, and signs that are no words, find nothing by words and do not disturb the other leg."""
    for query in ("flames", "?!"):
        assert await search(query, mode="words") == []
        assert ids(await search(query, top_k=6)) == ids(await search(query, mode="dense", top_k=6))


@pytest.mark.parametrize("seed", range(4))
async def test_memory_and_faiss_agree_on_anything(seed: int, tmp_path: Path, embedder: Compass) -> None:
    """Random texts and whole-numbered vectors in two namespaces, some deleted: the same hits in every mode."""
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        options = {"dimension": 4, "metric": "dot"}
        stores = [await Harness(PortName.VECTORS, name, options, tmp_path).started() for name in ("memory", "faiss")]
        for store in stores:
            stack.push_async_callback(store.close)
        for namespace in ("one", "two"):
            items = [_random_item(f"i{n:02}", chance) for n in range(40)]
            gone = [item.id for item in items if chance.random() < 0.2]
            for store in stores:
                await store.upsert(items, namespace=namespace)
                await store.upsert(items[:5], namespace=namespace)
                await store.delete(ids=gone, namespace=namespace)
        for query in ("flames", "mill", "231", "the mill the canal"):
            for mode in MODES:
                asked: dict[str, Any] = {
                    "mode": mode,
                    "top_k": chance.choice([1, 3, 10, 100]),
                    "where": chance.choice([None, {"n": {"$lt": 3}}, {"even": {"$ne": True}}]),
                    "namespace": chance.choice(["one", ["one", "two"], ["two", "none"]]),
                    "pool": chance.choice([5, 100]),
                }
                expected, found = [await Search(store, as_embedder(embedder))(query, **asked) for store in stores]
                assert [(hit.id, hit.namespace) for hit in found] == [(hit.id, hit.namespace) for hit in expected]
                assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], rel=1e-5)


def _random_item(name: str, chance: random.Random) -> VectorItem:
    words = chance.choices(["mill", "canal", "the", "231", "river", "Haxall"], k=chance.randint(1, 9))
    vector = [chance.randint(-8, 8) or 1 for _ in range(4)]
    return VectorItem(
        name, array("f", vector), {"text": " ".join(words), "n": chance.randint(0, 5), "even": chance.random() < 0.5}
    )


async def oracle(query: str, mode: Mode) -> list[str]:
    """What the reference index and plain arithmetic give."""
    async with AsyncExitStack() as stack:
        index = await opened(stack, MemoryVectorIndex(IndexSpec(4, "dot")))
        await fill(index)
        [dense] = await index.query([VectorQuery(values=array("f", Compass.known[query]), top_k=10)])
        [words] = await index.search_text([TextQuery(text=query, top_k=10)])
    legs = {"dense": [[m.id for m in dense]], "words": [[m.id for m in words]]}
    chosen = legs.get(mode, [*legs["dense"], *legs["words"]])
    scores = {i: sum(1 / (61 + leg.index(i)) for leg in chosen if i in leg) for leg in chosen for i in leg}
    return sorted(scores, key=lambda i: (-scores[i], i))


async def test_both_is_what_is_taken_when_nobody_says(search: Search) -> None:
    """Without a mode a search is hybrid; with a least score it is by meaning, whose score can be compared."""
    assert await search("mill", top_k=6) == await search("mill", mode="hybrid", top_k=6)
    assert await search("mill", min_score=3) == await search("mill", mode="dense", min_score=3)
    assert ids(await search("mill", min_score=3)) == ["c", "f", "b"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", [F.even == True, {"even": {"$ne": True}}, {"source": "nowhere"}])  # noqa: E712 - builds a filter
async def test_a_filter_holds_on_every_leg(search: Search, mode: Mode, where: Any) -> None:
    """Whatever the mode, all that matches and nothing else can be found; ranks count what matches alone."""
    everything = await search("mill", mode=mode, top_k=10)
    found = await search("mill", mode=mode, top_k=10, where=where)
    matching = {"a", "c", "e"} if where == (F.even == True) else {"b", "d", "f"}  # noqa: E712 - builds a filter
    expected = set() if where == {"source": "nowhere"} else matching & set(ids(everything))
    assert set(ids(found)) == expected
    ranks = [hit.parts.dense_rank for hit in found if hit.parts.dense_rank]
    assert sorted(ranks) == list(range(1, len(ranks) + 1))


async def test_a_hit_tells_what_its_score_is_made_of(search: Search) -> None:
    """Scores and places of both legs, their sum, and where the words are."""
    [hit] = await search("mill", where={"source": "f.md"}, mode="hybrid")
    assert (hit.parts.dense, hit.parts.dense_rank, hit.parts.words_rank) == (7.0, 1, 1)
    assert hit.parts.words is not None
    assert hit.score == pytest.approx(2 / 61)
    assert (hit.parts.fused, hit.parts.reranked) == (hit.score, None)
    assert [hit.text[start:end] for start, end in hit.highlights] == ["mill"]
    [dense] = await search("mill", where={"source": "f.md"}, mode="dense")
    assert (dense.score, dense.parts.words, dense.parts.fused) == (7.0, None, None)


async def test_highlights_follow_the_words_of_the_port(embedder: Compass) -> None:
    """Case and accents do not matter, endings do, and characters that stand alone are found one by one."""
    async with AsyncExitStack() as stack:
        index = await opened(stack, MemoryVectorIndex(IndexSpec(4)))
        text = "Mühle, MÜHLE! Mühlen; 河流"
        await index.upsert([VectorItem("x", array("f", [1, 0, 0, 0]), {"text": text})])
        [hit] = await Search(index, as_embedder(embedder))("muhle 河")
    assert [text[start:end] for start, end in hit.highlights] == ["Mühle", "MÜHLE", "河"]


async def test_one_result_is_the_first_of_many(search: Search) -> None:
    """The number of results does not change who is best."""
    for mode in MODES:
        whole = ids(await search("mill", mode=mode, top_k=6))
        assert [ids(await search("mill", mode=mode, top_k=count)) for count in (1, 2, 3)] == [
            whole[:1],
            whole[:2],
            whole[:3],
        ]


async def test_a_small_pool_is_never_below_the_results(search: Search) -> None:
    """A pool of one still gives as many results as are asked for."""
    assert len(await search("mill", pool=1, top_k=6)) == 6
    assert len(await search("mill", pool=1, top_k=1)) == 1


async def test_weights_decide_between_the_legs(search: Search) -> None:
    """All weight on one leg is that leg's order, with what only the other found behind."""
    by_words = ids(await search("mill", mode="words", top_k=6))
    assert ids(await search("mill", weights=(0, 1), top_k=6))[:3] == by_words
    assert ids(await search("mill", weights=(1, 0), top_k=6)) == ids(await search("mill", mode="dense", top_k=6))


async def test_several_namespaces_become_one_ranking(search: Search, index: VectorIndex) -> None:
    """By score, then id, then namespace; unknown ones are empty, repeated ones count once, each hit has its own."""
    await fill(index, ["a", "c"], namespace="more")
    dense = await search("mill", mode="dense", top_k=4, namespace=["more", "default", "more", "unknown"])
    assert [(hit.id, hit.namespace) for hit in dense] == [
        ("c", "default"),
        ("c", "more"),
        ("f", "default"),
        ("b", "default"),
    ]
    words = await search("mill", mode="words", top_k=10, namespace=("default", "more"))
    assert sorted((hit.id, hit.namespace) for hit in words) == [
        ("a", "default"),
        ("a", "more"),
        ("b", "default"),
        ("f", "default"),
    ]
    hybrid = await search("mill", top_k=20, namespace=["default", "more"])
    assert len({(hit.id, hit.namespace) for hit in hybrid}) == len(hybrid) == 8
    assert await search("mill", namespace=["unknown"]) == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_namespace_of_several_names_counts_once(search: Search, mode: Mode) -> None:
    """``""`` and ``"__default__"`` are the default namespace, whose passages are not found twice."""
    once = await search("mill", mode=mode, top_k=20, namespace="default")
    assert await search("mill", mode=mode, top_k=20, namespace=["", "default", "__default__"]) == once
    plan = await search.explain("mill", mode=mode, namespace=["__default__", "default"])
    assert plan.namespaces == ("default",)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("query", ["a \ud800 lone", 7, None])
async def test_a_query_that_is_no_text_is_refused(search: Search, mode: Mode, query: Any) -> None:
    """Also by words alone, where nothing is embedded: nobody could show such a query."""
    with pytest.raises(InvalidArgument, match="query"):
        await search(query, mode=mode)


async def test_diversity_works_on_what_words_found(search: Search) -> None:
    """Passages that only words found take part, with vectors that are fetched for them."""
    for mode in MODES:
        plain = await search("mill", mode=mode, top_k=3, diversity=0)
        varied = await search("mill", mode=mode, top_k=3, diversity=1)
        assert ids(plain) == ids(await search("mill", mode=mode, top_k=3))
        assert (varied[0], len(varied)) == (plain[0], len(plain))
    varied = await search("231", mode="hybrid", top_k=3, diversity=1)
    assert ids(varied)[0] == "d"
    assert len({hit.id for hit in varied}) == 3


async def test_vectors_are_fetched_only_for_what_words_alone_have_found(embedder: Compass) -> None:
    """What was found by meaning brings its vector along."""

    class Counting(MemoryVectorIndex):
        """Notes what is fetched."""

        fetched: ClassVar[list[str]] = []

        async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
            self.fetched.extend(ids)
            return await super().fetch(ids, namespace=namespace)

    async with AsyncExitStack() as stack:
        inner = Counting(IndexSpec(4))
        index = await opened(stack, inner)
        await fill(index)
        search = Search(index, as_embedder(embedder))
        await search("mill", mode="dense", diversity=0.5)
        await search("mill", mode="hybrid", diversity=0.5)
        assert inner.fetched == []
        await search("231", mode="words", diversity=0.5)
        assert inner.fetched == ["d"]


async def test_diversity_chooses_among_the_best_of_what_was_reranked(search: Search, index: VectorIndex) -> None:
    """Five candidates for each result, however many were read again."""
    items = [VectorItem(f"m{n:03}", array("f", [0, 9, 0, n]), {"text": f"mill {n}"}) for n in range(1, 40)]
    await index.upsert(items)
    best = await search("mill 7", mode="dense", rerank=45, top_k=10)
    varied = await search("mill 7", mode="dense", rerank=45, top_k=2, diversity=1)
    assert varied[0] == best[0]
    assert {hit.id for hit in varied} <= {hit.id for hit in best}


async def test_a_reranker_has_the_last_word(search: Search) -> None:
    """Its score orders the hits, of equal ones the order before; the parts keep what was before."""
    found = await search("the mill burned", mode="dense", rerank=True, top_k=3)
    assert ids(found) == ["a", "b", "f"]
    assert [hit.score for hit in found] == [hit.parts.reranked for hit in found] == [1.0, 2 / 3, 2 / 3]
    assert all(hit.parts.dense is not None for hit in found)


async def test_only_so_many_are_reranked(search: Search) -> None:
    """What is not read is no result; never fewer are read than are wanted."""
    assert set(ids(await search("mill", mode="dense", rerank=1, top_k=2))) == {"c", "f"}
    assert set(ids(await search("mill", mode="dense", rerank=3, top_k=2))) <= {"c", "f", "b"}
    assert set(ids(await search("mill", mode="dense", rerank=2, top_k=2, diversity=0))) == {"c", "f"}


async def test_a_least_score_bounds_the_rerankers_score(search: Search) -> None:
    """Whatever the mode, for then the score is comparable."""
    for mode in (None, *MODES):
        found = await search("the mill burned", mode=mode, rerank=True, min_score=0.9)
        assert ids(found) == ["a"]


async def test_a_least_score_bounds_bm25(search: Search) -> None:
    """By words it is about BM25."""
    best, *others = await search("mill", mode="words")
    kept = await search("mill", mode="words", min_score=(best.score + others[0].score) / 2)
    assert ids(kept) == [best.id]


async def test_passages_without_text_cannot_be_reranked(search: Search, index: VectorIndex) -> None:
    """They are left out; without reranking they are found."""
    await index.upsert([VectorItem("mute", array("f", [0, 9, 0, 0]), {"text": " "})])
    assert ids(await search("mill", mode="dense", top_k=1)) == ["mute"]
    assert "mute" not in ids(await search("mill", mode="dense", top_k=10, rerank=True))


@pytest.mark.parametrize("mode", MODES)
async def test_a_reranker_that_fails_fails_the_search(index: VectorIndex, embedder: Compass, mode: Mode) -> None:
    """No other order is passed off as the reranker's; the same search without it is answered."""
    search = Search(index, as_embedder(embedder), reranker=checked(PortName.RERANKER, MemoryReranker()))
    with pytest.raises(Unavailable):
        await search("mill", mode=mode, rerank=True)
    with pytest.raises(Unavailable):
        await search.explain("mill", mode=mode, rerank=True, timed=True)
    assert (await search.explain("mill", mode=mode, rerank=True)).reranked == 50
    assert await search("mill", mode=mode)


async def test_reranking_without_a_reranker_names_the_cure(index: VectorIndex, embedder: Compass) -> None:
    """Before anything is embedded or asked."""
    search = Search(index, as_embedder(embedder))
    with pytest.raises(ConfigError, match="set `reranker` in the profile") as caught:
        await search("mill", rerank=True)
    with pytest.raises(ConfigError):
        await search.explain("mill", rerank=5)
    assert (caught.value.path, embedder.asked) == ("reranker", [])
    assert await search("mill", rerank=False, top_k=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "sparse"},
        {"mode": "hybrid", "min_score": 0.5},
        {"pool": 0},
        {"pool": 10_001},
        {"rerank": -1},
        {"rerank": 10_001},
        {"rerank": "yes"},
        {"weights": (1,)},
        {"weights": (0, 0)},
        {"weights": (-1, 1)},
        {"namespace": []},
        {"namespace": ["ok", "no\0good"]},
        {"namespace": 7},
        {"namespace": [7]},
        {"diversity": 0.5, "top_k": 201},
        {"diversity": -0.1},
        {"min_score": float("inf")},
        {"wait": -1},
        {"top_k": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("index", ["memory"], indirect=True)
async def test_what_makes_no_sense_is_refused(search: Search, arguments: dict[str, Any]) -> None:
    """Each argument has its range."""
    with pytest.raises(InvalidArgument):
        await search("mill", **arguments)


async def test_words_alone_need_no_model(search: Search, index: VectorIndex, embedder: Compass) -> None:
    """An index that searches by words is asked without embedding; another one needs candidates by meaning."""
    await search("mill", mode="words")
    assert embedder.asked == ([] if index.capabilities.has("vectors.text") else ["mill"])


async def test_a_search_sees_the_write_it_names(embedder: Compass) -> None:
    """Both legs wait for it, where the index lags behind."""

    class Lagging(MemoryVectorIndex):
        """Shows a write at the second look."""

        looks = 0

        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, guarantees=Guarantees(read_after_write=False))

        async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
            self._look()
            return await super().query(queries)

        async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
            self._look()
            return await super().search_text(queries)

        async def explain(self, query: VectorQuery) -> QueryPlan:
            if query.at_least is not None:
                self._look()
            return await super().explain(query)

        def _look(self) -> None:
            self.looks += 1
            if self.looks <= 2:
                raise StaleRead("not yet")

    async with AsyncExitStack() as stack:
        inner = Lagging(IndexSpec(4))
        index = await opened(stack, inner)
        token = (await index.upsert([VectorItem("a", array("f", [1, 0, 0, 0]), {"text": "mill"})])).token
        search = Search(index, as_embedder(embedder))
        assert ids(await search("mill", at_least=token)) == ["a"]
        assert inner.looks == 4
        inner.looks = 0
        assert (await search.explain("mill", at_least=token)).legs[0].way == "exact"
        with pytest.raises(StaleRead):
            await search("mill", at_least=token, wait=0)


class Blocked(MemoryVectorIndex):
    """Searches by words without end, and tells when it was made to stop."""

    def __init__(self) -> None:
        super().__init__(IndexSpec(4))
        self.events: list[str] = []
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        await self.begun.wait()
        if self.error is not None:
            raise self.error
        return await super().query(queries)

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("ended")
        return []


async def test_a_leg_that_fails_ends_the_other(embedder: Compass) -> None:
    """The error is the leg's own, with its cause, and nothing is left running."""
    async with AsyncExitStack() as stack:
        inner = Blocked()
        index = await opened(stack, inner)
        inner.error = Unavailable("down")
        inner.error.__cause__ = OSError("cut")
        with pytest.raises(Unavailable, match="down") as caught:
            await Search(index, as_embedder(embedder))("mill")
        assert isinstance(caught.value.__cause__, OSError)
        assert inner.events == ["ended"]
        assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_search_leaves_nothing_running(embedder: Compass) -> None:
    """Both legs end with their caller."""
    async with AsyncExitStack() as stack:
        inner = Blocked()
        task = asyncio.create_task(Search(await opened(stack, inner), as_embedder(embedder))("mill"))
        await inner.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inner.events == ["ended"]
        assert len(asyncio.all_tasks()) == 1


async def test_a_plan_tells_how_the_index_is_asked(search: Search, index: VectorIndex) -> None:
    """Legs, pools, filter, fusion and reranker, and what an index that explains tells of itself."""
    plan = await search.explain("mill", where={"even": True}, rerank=7, top_k=3, namespace=["default", "more"])
    native = index.capabilities.has("vectors.text")
    assert (plan.mode, plan.model, plan.where) == ("hybrid", "compass", {"even": {"$eq": True}})
    assert [(leg.leg, leg.namespace, leg.count) for leg in plan.legs] == [
        ("dense", "default", 100),
        ("dense", "more", 100),
        *([("words", "default", 100), ("words", "more", 100)] if native else [("words", "default, more", 100)]),
    ]
    assert [leg.candidates for leg in plan.legs[:2]] == ([3, 0] if native else [None, None])
    assert plan.legs[2].way == ("bm25" if native else "pool")
    assert ("does not search by words" in " ".join(plan.notes)) is not native
    assert plan.fusion is not None
    assert "60 + rank" in plan.fusion
    assert (plan.reranker, plan.reranked) == ("storycore-words-not-semantic", 7)
    assert (plan.found, plan.milliseconds) == (None, None)
    assert json.loads(json.dumps(plan.as_dict()))["where"] == {"even": {"$eq": True}}
    assert 'filter: {"even":{"$eq":true}}' in str(plan)


async def test_a_plan_can_be_timed(search: Search) -> None:
    """Then the search is done, and each of its steps has its time."""
    plan = await search.explain("mill", timed=True, rerank=True, diversity=0.5, top_k=2)
    assert plan.found == 2
    assert plan.milliseconds is not None
    assert {"embedding", "dense", "words", "fusion", "reranking", "diversity", "hits"} == set(plan.milliseconds)
    assert all(spent >= 0 for spent in plan.milliseconds.values())


@pytest.mark.parametrize("mode", MODES)
async def test_a_plan_names_the_model_only_where_it_is_used(search: Search, index: VectorIndex, mode: Mode) -> None:
    """Words alone are not embedded, unless the index cannot find them."""
    plan = await search.explain("mill", mode=mode)
    legs = {leg.leg for leg in plan.legs}
    native = index.capabilities.has("vectors.text")
    expected = {"dense": {"dense"}, "words": {"words"} if native else {"dense", "words"}, "hybrid": {"dense", "words"}}
    assert legs == expected[mode]
    assert plan.model == (None if mode == "words" and native else "compass")
    assert (plan.fusion is None) == (mode != "hybrid")


async def test_many_hits_are_read_aside(search: Search, index: VectorIndex) -> None:
    """A large result is the same as a small one, only longer."""
    items = [VectorItem(f"m{n:03}", array("f", [1, n, 0, 0]), {"text": f"mill {n}"}) for n in range(1, 120)]
    await index.upsert(items)
    found = await search("mill", mode="dense", top_k=100)
    assert len(found) == 100
    assert found[:5] == await search("mill", mode="dense", top_k=5)


async def test_a_store_searches_with_the_reranker_of_its_profile(tmp_path: Path) -> None:
    """The memory profile has one; a profile without one works as before, and says what is missing when asked."""
    (tmp_path / "mill.md").write_text("# Mill\n\nThe mill burned in 1737.\n")
    async with storycore.open("memory") as store:
        await store.init()
        await store.ingest(tmp_path)
        [hit] = await store.search("1737", rerank=True)
        assert (hit.parts.reranked, hit.source) == (1.0, "mill.md")
        assert (await store.search.explain("1737", rerank=True)).reranker == "storycore-words-not-semantic"
    async with storycore.open("local", dir=tmp_path / "data", overrides={"embedder": "memory://"}) as local:
        assert (local.reranker, PortName.RERANKER in local.ports) == (None, False)
        with pytest.raises(ConfigError, match="reranker"):
            await local.search("1737", rerank=True)


def test_the_sync_face_searches_and_explains(tmp_path: Path) -> None:
    """The same object without ``await``."""
    (tmp_path / "mill.md").write_text("# Mill\n\nThe mill burned in 1737.\n")
    with storycore.open_sync("memory") as store:
        store.init()
        store.ingest(tmp_path)
        assert [hit.source for hit in store.search("1737", mode="words")] == ["mill.md"]
        assert store.search.explain("1737").mode == "hybrid"


def test_what_an_index_without_words_claims_is_less() -> None:
    """The index of these tests that cannot search by words really lacks it."""
    assert Wordless(IndexSpec(4)).capabilities.support("vectors.text") is Support.NO
