"""What a vector index promises about search by words: who matches, and the very score, under every change."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storycore.errors import Unsupported
from storycore.filters import F
from storycore.ports.vectors import TextQuery, VectorIndex, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import item, search_words, vector
from storycore.testing.vector_oracle import agree, text_ranking
from storycore.testing.vector_refusals import BAD_TEXT_QUERIES
from storycore.testing.vector_texts import SEARCHES, TEXTS, library, phrase

__all__ = ["VectorWords"]

WITHIN = 1e-6
"""How far a score may be off, relative."""
TEXT = "vectors.text"


class VectorWords:
    """The part of the VectorIndex suite that searches by words."""

    @pytest.mark.asyncio
    async def test_search_by_words_is_claimed_or_refused(self, store: VectorIndex) -> None:
        """``search_text`` answers where it is claimed, and is ``Unsupported`` elsewhere, even when nothing is asked."""
        await store.upsert([item("a", 1, text="river")])
        if store.capabilities.has(TEXT):
            assert [match.id for match in await search_words(store, "river")] == ["a"]
            assert await store.search_text([]) == []
            return
        for queries in ([TextQuery(text="river")], []):
            with pytest.raises(Unsupported):
                await store.search_text(queries)

    @pytest.mark.asyncio
    async def test_an_item_matches_when_it_has_one_of_the_words(self, harness: Harness, store: VectorIndex) -> None:
        """Words are compared without case and accents in every script; nothing in a text is an operator."""
        harness.require(store, TEXT)
        await store.upsert([item(name, n + 1, 1, text=text) for n, (name, text) in enumerate(TEXTS.items())])
        for name, (text, expected) in SEARCHES.items():
            assert expected == {match.id for match in await search_words(store, text, top_k=1000)}, name

    @pytest.mark.asyncio
    async def test_scores_are_exact(self, harness: Harness, store: VectorIndex) -> None:
        """BM25 to a millionth, for rare and frequent words, long and short texts, repeated and unknown words."""
        harness.require(store, TEXT)
        items, chance = library(150, seed=1), random.Random(2)
        await store.upsert(items)
        for text in [*(phrase(chance, 6) for _ in range(25)), "bar", "bar bar BAR bas", "unknown bar"]:
            whole = text_ranking({"default": items}, text)
            for top_k in (1, 7, 1000):
                agree(whole, await search_words(store, text, top_k=top_k), top_k, within=WITHIN)

    @pytest.mark.asyncio
    async def test_all_namespaces_count(self, harness: Harness, store: VectorIndex) -> None:
        """How rare a word is, and how long a text, is told by the items of all namespaces; found is what is in one."""
        harness.require(store, TEXT)
        spaces = {"default": library(60, seed=3), "n2": library(90, seed=4), "n3": library(5, seed=5)}
        for namespace, items in spaces.items():
            await store.upsert(items, namespace=namespace)
        for text in ("bar", "bas dat bet", "nut"):
            for namespace in spaces:
                matches = await search_words(store, text, namespace=namespace, top_k=1000)
                agree(text_ranking(spaces, text, namespace=namespace), matches, 1000, within=WITHIN)
                assert all(match.namespace == namespace for match in matches)
        assert await search_words(store, "bar", namespace="unknown") == []

    @pytest.mark.asyncio
    async def test_a_filter_chooses_and_changes_no_score(self, harness: Harness, store: VectorIndex) -> None:
        """As many results as match filter and words, up to ``top_k``, with the scores that they have without it."""
        harness.require(store, TEXT)
        items = library(150, seed=6)
        await store.upsert(items)
        for where in (F.kind == "k1", F.n >= 140, ~(F.n >= 140), F.kind.in_([]), ~F.nowhere.exists()):
            whole = text_ranking({"default": items}, "bar bas fet", where=where)
            for top_k in (1, 3, 1000):
                matches = await search_words(store, "bar bas fet", where=where, top_k=top_k)
                agree(whole, matches, top_k, within=WITHIN)
        asked: Any = {"kind": "k1"}
        matches = await search_words(store, "bar", where=asked, top_k=1000)
        agree(text_ranking({"default": items}, "bar", where=F.kind == "k1"), matches, 1000, within=WITHIN)

    @pytest.mark.asyncio
    async def test_equal_texts_are_ordered_by_id(self, harness: Harness, store: VectorIndex) -> None:
        """Among items with the same words the first ids come first, also where the count cuts through them."""
        harness.require(store, TEXT)
        names = [f"i{n:03d}" for n in range(120)]
        random.Random(5).shuffle(names)
        items = [item(name, n + 1, 1, n=n, text="mill river fire") for n, name in enumerate(names)]
        await store.upsert([*items, item("z-best", 1, text="river river"), item("a-last", 1, text="river" + " x" * 50)])
        ranked = ["z-best", *sorted(names), "a-last"]
        for top_k in (1, 2, 50, 119, 122):
            assert ranked[:top_k] == [match.id for match in await search_words(store, "river", top_k=top_k)]
        some = sorted(name for n, name in enumerate(names) if n >= 100)
        assert some[:7] == [match.id for match in await search_words(store, "river", where=F.n >= 100, top_k=7)]

    @pytest.mark.asyncio
    async def test_a_word_that_nearly_all_have_still_counts(self, harness: Harness, store: VectorIndex) -> None:
        """A word in more than half of the texts has the least weight there is, and never a negative one."""
        harness.require(store, TEXT)
        items = [item(f"i{n}", n + 1, 1, text="river " + "mill " * n) for n in range(9)]
        await store.upsert([*items, item("rare", 1, text="river fire")])
        matches = await search_words(store, "river")
        whole = text_ranking({"default": [*items, item("rare", 1, text="river fire")]}, "river")
        assert all(0 < match.score < 1e-5 for match in matches)
        assert [score for _, score in whole] == pytest.approx([match.score for match in matches], rel=WITHIN, abs=0)
        assert [match.id for match in await search_words(store, "river fire", top_k=1)] == ["rare"]

    @pytest.mark.asyncio
    async def test_words_follow_every_change(self, harness: Harness, store: VectorIndex) -> None:
        """After each replacing, updating and removing of items matches and scores are those of what is stored now."""
        harness.require(store, TEXT)
        await store.upsert(library(60, seed=7))
        await store.upsert(library(20, seed=8), namespace="n2")
        names = [each.id for each in library(60, seed=7)]
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.upsert(
                [item(names[0], 1, text="bar bar new"), item(names[1], 1), item("new", 1, text="bar")]
            ),
            lambda: store.upsert([item("new", 1, text="first"), item("new", 2, text="bar last")]),
            lambda: store.update(names[2], set={"text": "bar changed"}),
            lambda: store.update(names[3], unset=["text"]),
            lambda: store.update(names[4], values=vector(0, 1), set={"n": 5000}),
            lambda: store.update_where(F.n < 10, set={"text": ["bar together", "now"]}),
            lambda: store.update_where(F.n > 50, unset=["text"]),
            lambda: store.update_where(F.kind == "k2", set={"other": "bar"}),
            lambda: store.delete(ids=names[10:15]),
            lambda: store.delete(where=F.kind == "k3"),
            lambda: store.optimize(),
            lambda: store.delete(all=True, namespace="n2"),
            lambda: store.delete(all=True),
            lambda: store.upsert([item("again", 1, text="bar")]),
        ]
        for number, change in enumerate(changes):
            await change()
            for text in ("bar", "bas now", "first last changed"):
                await _agrees(store, text, f"after change {number}")

    @pytest.mark.asyncio
    async def test_other_fields_can_be_read(self, harness: Harness) -> None:
        """The declared text fields are joined, texts and lists alike; other fields and other types have no words."""
        async with await harness.started(text_fields=["title", "body"]) as store:
            harness.require(store, TEXT)
            items = [
                item("a", 1, title="river", body=["mill fire", "mill"], text="nowhere"),
                item("b", 1, body="river side of the long text"),
                item("c", 1, text="river"),
                item("d", 1, title="tale", note="mill"),
            ]
            await store.upsert(items)
            await store.upsert([item("n", 1, title=42)], namespace="numbers")
            spaces = {"default": items, "numbers": [item("n", 1)]}
            for text in ("river", "mill", "nowhere", "tale fire", "riverside", "42"):
                whole = text_ranking(spaces, text, fields=("title", "body"))
                agree(whole, await search_words(store, text), 10, within=WITHIN)
            assert await search_words(store, "42", namespace="numbers") == []

    @pytest.mark.asyncio
    async def test_texts_of_any_length_are_told_apart(self, harness: Harness, store: VectorIndex) -> None:
        """Very long words differ by their last letter, and a query may have thousands of words."""
        harness.require(store, TEXT)
        long = "x" * 40_000
        await store.upsert([item("a", 1, text=long + "a"), item("b", 2, text=long + "b"), item("c", 3, text="w1999")])
        assert [match.id for match in await search_words(store, long + "b")] == ["b"]
        assert await search_words(store, long) == []
        assert [match.id for match in await search_words(store, " ".join(f"w{n}" for n in range(2000)))] == ["c"]

    @pytest.mark.asyncio
    async def test_matches_of_words_carry_metadata_and_no_vector(self, harness: Harness, store: VectorIndex) -> None:
        """A match has the item's metadata and namespace; its vector is never sent along."""
        harness.require(store, TEXT)
        await store.upsert([item("a", 1, text="river", x=1, tags=["t"])])
        [match] = await search_words(store, "river")
        assert (match.metadata, match.values) == ({"text": "river", "x": 1, "tags": ["t"]}, None)
        assert match.namespace == "default"

    @pytest.mark.asyncio
    async def test_searches_of_one_call_are_answered_in_their_order(self, harness: Harness, store: VectorIndex) -> None:
        """One list per query, each for itself."""
        harness.require(store, TEXT)
        await store.upsert([item("a", 1, text="river"), item("b", 1, text="mill"), item("c", 1, text="mill mill")])
        asked = [TextQuery(text="mill", top_k=1), TextQuery(text=""), TextQuery(text="river"), TextQuery(text="mill")]
        answers = [[match.id for match in matches] for matches in await store.search_text(asked)]
        assert answers == [["c"], [], ["a"], ["c", "b"]]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_TEXT_QUERIES)
    async def test_a_bad_search_by_words_is_refused(self, harness: Harness, store: VectorIndex, name: str) -> None:
        """A search that no adapter could answer is refused before any I/O, with the same error everywhere."""
        harness.require(store, TEXT)
        arguments, error = BAD_TEXT_QUERIES[name]
        with pytest.raises(error):
            await store.search_text([TextQuery(**arguments)])


async def _agrees(store: VectorIndex, text: str, when: str) -> None:
    spaces: dict[str, list[VectorItem]] = {}
    for namespace in (await store.stats()).counts:
        spaces[namespace] = list((await store.scan(limit=1000, namespace=namespace)).items)
    for namespace in ("default", "n2"):
        matches = await search_words(store, text, namespace=namespace, top_k=1000)
        try:
            agree(text_ranking(spaces, text, namespace=namespace), matches, 1000, within=WITHIN)
        except AssertionError as exc:
            raise AssertionError(f"{text!r} in {namespace!r} {when}: {exc}") from exc
