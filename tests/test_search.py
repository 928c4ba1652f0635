"""Semantic search over the reference adapters: hits, snippets, diversity, and what is refused."""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.errors import InvalidArgument, InvalidFilter, SchemaMismatch
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.memory.config import MemoryEmbedderConfig, MemoryVectorConfig
from storycore.memory.embedder import open_embedder
from storycore.memory.vectors import open_vectors
from storycore.ports.embeddings import Embedder
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, VectorIndex, VectorItem
from storycore.search import Hit, Search
from storycore.search.diversity import diversify
from storycore.search.snippets import WIDTH, snippet, wanted_by

PASSAGES = {
    "canal": "The Kanawha Canal carried freight boats around the falls of the James River.",
    "canals": "The Kanawha Canal carried freight boats around the falls of the James River, and boats again.",
    "bridge": "Three railroad lines cross one above the other at Triple Crossing.",
    "poet": "Edgar Allan Poe edited the Southern Literary Messenger in Richmond.",
}


@pytest_asyncio.fixture
async def embedder() -> AsyncIterator[Embedder]:
    opened = checked(PortName.EMBEDDER, open_embedder(MemoryEmbedderConfig(), Environment()))
    async with opened:
        yield opened


@pytest_asyncio.fixture
async def index(embedder: Embedder) -> AsyncIterator[VectorIndex]:
    config = MemoryVectorConfig(dimension=embedder.spec.dimension, embedding=embedder.spec.model)
    opened = checked(PortName.VECTORS, open_vectors(config, Environment()))
    async with opened:
        vectors = await embedder.embed(list(PASSAGES.values()), purpose="document")
        items = [
            VectorItem(name, vector, _chunk(name, n))
            for n, (name, vector) in enumerate(zip(PASSAGES, vectors, strict=True))
        ]
        await opened.upsert(items)
        yield opened


@pytest.fixture
def search(index: VectorIndex, embedder: Embedder) -> Search:
    return Search(index, embedder)


def _chunk(name: str, n: int) -> dict[str, Any]:
    text = PASSAGES[name]
    return {
        "source": f"docs/{name}.md",
        "title": name.title(),
        "section": "History › Water",
        "source_type": "markdown",
        "start": 10 * n,
        "end": 10 * n + len(text),
        "ordinal": n,
        "text": text,
    }


async def test_a_hit_says_where_it_is_from(search: Search) -> None:
    """Source, title, section, offsets, text and snippet are read back from what ingestion wrote."""
    [found] = await search("freight boats on the Kanawha canal", top_k=1)
    expected = _chunk("canal", 0)
    assert (found.id, found.source, found.title, found.section) == (
        "canal",
        "docs/canal.md",
        "Canal",
        "History › Water",
    )
    assert (found.start, found.end, found.text, found.snippet) == (0, expected["end"], expected["text"], found.text)
    assert found.metadata == expected
    assert 0 < found.score <= 1


async def test_hits_come_best_first(search: Search) -> None:
    """Scores descend, and there are at most ``top_k``."""
    hits = await search("railroad crossing", top_k=3)
    assert hits[0].id == "bridge"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == 3


async def test_a_filter_in_either_form_narrows_the_search(search: Search) -> None:
    """Only passages that match are found; a bad filter says so."""
    for where in (F.title == "Poet", {"title": "Poet"}):
        assert [hit.id for hit in await search("canal", where=where)] == ["poet"]
    with pytest.raises(InvalidFilter):
        await search("canal", where={"$near": 1})


async def test_min_score_keeps_weak_hits_away(search: Search) -> None:
    """Nothing is found below the bound, which is about nearness unless another mode is named."""
    best, second = (await search("Poe the poet", top_k=2, mode="dense"))[:2]
    kept = await search("Poe the poet", min_score=(best.score + second.score) / 2)
    assert [hit.id for hit in kept] == [best.id]


async def test_a_search_stays_in_its_namespace(search: Search, index: VectorIndex, embedder: Embedder) -> None:
    """The namespace of the search, or of the call, is the only one that is looked at."""
    assert await search("canal", namespace="other") == []
    assert await Search(index, embedder, namespace="other")("canal") == []


@pytest.mark.parametrize("query", ["", " \n\t"])
async def test_a_blank_query_is_refused(search: Search, query: str) -> None:
    """There is nothing to look for."""
    with pytest.raises(InvalidArgument, match="blank"):
        await search(query)


@pytest.mark.parametrize(
    "arguments", [{"top_k": 0}, {"top_k": 10_001}, {"diversity": 1.5}, {"min_score": float("nan")}]
)
async def test_arguments_out_of_range_are_refused(search: Search, arguments: dict[str, Any]) -> None:
    """Each argument has its range, with and without results."""
    with pytest.raises(InvalidArgument):
        await search("canal", **arguments)


@pytest.mark.parametrize("config", [{"dimension": 256, "embedding": "another"}, {"dimension": 8}], ids=str)
async def test_another_model_is_refused(embedder: Embedder, config: dict[str, Any]) -> None:
    """Vectors of another model or dimension are never compared; the error names both."""
    async with checked(PortName.VECTORS, open_vectors(MemoryVectorConfig(**config), Environment())) as index:
        with pytest.raises(SchemaMismatch, match=embedder.spec.model):
            await Search(index, embedder)("canal")


async def test_an_index_without_a_model_is_trusted(embedder: Embedder) -> None:
    """An index that names no model can be searched with any of its dimension."""
    config = MemoryVectorConfig(dimension=embedder.spec.dimension)
    async with checked(PortName.VECTORS, open_vectors(config, Environment())) as index:
        assert await Search(index, embedder)("canal") == []


async def test_what_metadata_does_not_say_is_empty(index: VectorIndex, embedder: Embedder) -> None:
    """Items that ingestion did not write are hits too: no source, no offsets."""
    [vector] = await embedder.embed(["something else"], purpose="document")
    await index.upsert([VectorItem("bare", vector, {"section": ["One", "Two"], "title": 7})], namespace="bare")
    [hit] = await Search(index, embedder, namespace="bare")("something")
    assert (hit.source, hit.title, hit.section, hit.start, hit.end, hit.text) == ("", "7", "One › Two", -1, -1, "")


async def test_diversity_passes_over_what_says_the_same(search: Search) -> None:
    """The near duplicate gives way to another passage; without diversity it is second."""
    plain = await search("freight boats on the canal", top_k=2)
    varied = await search("freight boats on the canal", top_k=2, diversity=0.7)
    assert {hit.id for hit in plain} == {"canal", "canals"}
    assert varied[0] == plain[0]
    assert varied[1].id in {"bridge", "poet"}


def _match(id_: str, score: float, *values: float) -> Match:
    return Match(id_, score, {}, values=array("f", values))


def test_no_diversity_keeps_the_order() -> None:
    """With 0 the order of scores stays, with equal scores too."""
    matches = [_match("a", 0.9, 1, 0), _match("b", 0.9, 1, 0), _match("c", 0.1, 0, 1)]
    assert diversify(matches, count=3, diversity=0) == matches


def test_full_diversity_looks_at_likeness_alone() -> None:
    """With 1 the second choice is the least like the first, however low its score."""
    matches = [_match("a", 0.9, 1, 0), _match("b", 0.8, 1, 0.1), _match("c", 0.1, 0, 5)]
    assert [match.id for match in diversify(matches, count=2, diversity=1)] == ["a", "c"]


def test_diversity_needs_vectors() -> None:
    """Matches without their vectors cannot be told apart."""
    with pytest.raises(InvalidArgument, match="include_values"):
        diversify([Match("a", 1.0, {})], count=1, diversity=0.5)


def test_diversity_of_nothing_is_nothing() -> None:
    """No candidates give no results."""
    assert diversify([], count=3, diversity=0.5) == []


FILLER = "Nothing of note is said in this sentence here. " * 12


def test_a_short_passage_is_its_own_snippet() -> None:
    """Up to 240 characters are shown whole, on one line."""
    assert snippet(" one\n two\tthree ", "two") == "one two three"


def test_a_snippet_shows_the_words_of_the_query() -> None:
    """The window lies where most of the query's words are together, in any of their forms."""
    text = f"{FILLER}A canal stands alone. {FILLER}Boats sailed along the canals to the mill. {FILLER}"
    shown = snippet(text, "Which boat sails on the canal?")
    assert "Boats sailed along the canals to the mill." in shown
    assert (shown[0], shown[-1]) == ("…", "…")


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    """A word that the passage repeats everywhere does not draw the window to itself."""
    text = f"{'The river runs by the city. ' * 12}Tredegar made cannons. {'The city is by the river. ' * 12}"
    assert "Tredegar" in snippet(text, "the river city and the Tredegar works")
    assert snippet(text, wanted_by("the Tredegar works")) == snippet(text, "the Tredegar works")


def test_a_snippet_knows_words_as_search_does() -> None:
    """Accents do not matter, and characters of scripts without spaces are words of their own."""
    assert "Zürich" in snippet(f"{FILLER}Zürich lies here. {FILLER}", "zurich")
    assert "河流穿过城市" in snippet(f"{FILLER}河流穿过城市。{FILLER}", "城市")


def test_the_marks_of_headings_are_not_shown() -> None:
    """A snippet is for reading: what makes a line of Markdown a heading is left out, a number sign elsewhere is not."""
    assert snippet("## Breweries\n\nBeer #1 was canned here.", "beer") == "Breweries Beer #1 was canned here."


def test_a_long_word_counts_more_than_a_short_one() -> None:
    """Words of one or two letters, which every sentence has, draw the window only when there is nothing else."""
    text = f"So it is on us to do. {FILLER}Locomotives stood here. {FILLER}"
    assert "Locomotives" in snippet(text, "is it on us to do locomotives")


def test_without_the_words_a_snippet_is_the_beginning() -> None:
    """Nothing to show leaves the first words, with an ellipsis behind them."""
    shown = snippet(FILLER, "zebra")
    assert shown.startswith("Nothing of note")
    assert shown.endswith("…")


def test_a_text_of_one_word_again_and_again_is_read_once() -> None:
    """A passage that repeats what is looked for costs by its length, and not by the square of it."""
    begun = time.process_time()
    assert snippet("a b " * 50_000, "a b c").startswith("a b a b")
    assert time.process_time() - begun < 4.0


TEXTS = st.lists(st.sampled_from(["river", "canal", "a", "mill.", "x" * 300, "é-ö", "\n", "漢字"]), max_size=120).map(
    " ".join
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(TEXTS, st.sampled_from(["river", "canal mill", "漢字", "?", "xxx", ""]))
def test_a_snippet_is_a_piece_of_the_passage(text: str, query: str) -> None:
    """At most 240 characters on one line; without its ellipses it is found in the passage."""
    shown = snippet(text, query)
    assert len(shown) <= WIDTH
    assert shown.removeprefix("…").removesuffix("…") in " ".join(text.split())
    assert "\n" not in shown


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(["river", "canal", "bank", "stones"]), min_size=60, max_size=120))
def test_a_snippet_cuts_between_words(words: list[str]) -> None:
    """Every word that is shown is a whole word of the passage."""
    shown = snippet(" ".join(words), "canal").strip("…")
    assert set(shown.split()) <= set(words)


def test_hits_are_values() -> None:
    """Two hits with the same content are equal, and neither can be changed."""
    one, two = (
        Hit(id="a", score=1, source="s", title="", section="", start=0, end=1, snippet="", text="", metadata={})
        for _ in range(2)
    )
    assert one == two
