"""Search by words: exact scores, words that are never syntax, and statistics that follow every write."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from storycore_faiss._sql import SCHEMA, connect
from storycore_faiss.provision import provision
from storycore_faiss.texts import Texts, tokens
from storycore_faiss.writes import Writes

from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import IndexSpec, TextQuery, VectorItem
from storycore.ports.words import distinct_words, word_texts, words
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import item, vector

WORDS = "the old mill burned down in a fire at night while rain and wind came over hills fox".split()  # noqa: SIM905


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)


@pytest.fixture
def reference(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "memory", {"dimension": 4}, tmp_path)


def _kept(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT term FROM temp.instances ORDER BY doc, offset")
    return [term for (term,) in rows]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
@example(["naïve ÉTÉ", "漢字かな交じり", "हिन्दी भाषा", "a\0b\u200dc", "½ ² ﬁ ǅ ß İ ﷺ", "a_b-c'd", "x" * 300 + " y"])
@example(['"quoted" OR (not) NEAR* ^a : -b', "\U0001d400 \U00020000", "e\u0301 \u0301 ͅ"])
def test_what_is_kept_is_exactly_the_words(texts: list[str]) -> None:
    """FTS5 keeps for any text the words of ``storycore.ports.words`` in their order, and nothing else."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("CREATE VIRTUAL TABLE temp.instances USING fts5vocab(main, words, instance)")
        Texts(connection).add(enumerate(texts, 1))
        assert [token for text in texts for token in tokens(text).split()] == _kept(connection)
        assert [len(word_texts(text)) for text in texts] == [len(tokens(text).split()) for text in texts]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x250)) | st.text())
def test_words_without_their_places_are_the_same_words(text: str) -> None:
    """The short way to the words of a text gives what the long way gives."""
    assert [word.text for word in words(text)] == word_texts(text)


def _sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, weights=range(len(WORDS), 0, -1), k=chance.randint(0, 12)))


def _items(chance: random.Random, count: int, kinds: int = 3) -> list[VectorItem]:
    return [
        item(f"i{chance.randrange(60):02d}", 1, kind=chance.randrange(kinds), text=_sentence(chance))
        for _ in range(count)
    ]


async def _agree(stores: Sequence[Any], chance: random.Random) -> None:
    for namespace in ("default", "other"):
        for where in (None, F.kind == 1):
            query = TextQuery(
                text=_sentence(chance), where=where, namespace=namespace, top_k=chance.choice([1, 5, 100])
            )
            [[expected], [seen]] = [await store.search_text([query]) for store in stores]
            assert [match.id for match in expected] == [match.id for match in seen]
            assert [match.score for match in expected] == pytest.approx([match.score for match in seen], rel=1e-9)
            assert [match.metadata for match in expected] == [match.metadata for match in seen]


@pytest.mark.parametrize("seed", range(4))
async def test_any_writes_leave_the_scores_of_the_reference(harness: Harness, reference: Harness, seed: int) -> None:
    """After upserts, updates, deletes and changes by filter in two namespaces, ids and scores are the reference's."""
    chance = random.Random(seed)
    async with await harness.started(durability="normal") as mine, await reference.started() as other:
        for _ in range(12):
            namespace, step, items = chance.choice(["default", "other"]), chance.randrange(5), _items(chance, 15)
            kind, text = F.kind == chance.randrange(3), _sentence(chance)
            for store in (other, mine):
                if step < 2:
                    await store.upsert(items, namespace=namespace)
                elif step == 2:
                    await store.delete(ids=[each.id for each in items[:5]], namespace=namespace)
                elif step == 3:
                    await store.update_where(kind, set={"text": [text, "fox"]}, namespace=namespace)
                else:
                    await store.delete(where=kind, namespace=namespace)
            await _agree([other, mine], chance)


@pytest.mark.parametrize(
    "text",
    ['"', "'", "fox OR", "AND NOT", "NEAR(fox, 2)", "fox*", "^fox", "text:fox", "-fox", "(fox", "{fox}", "fox\0", "+"],
)
async def test_a_text_is_never_syntax(harness: Harness, text: str) -> None:
    """Quotes, operators and signs of FTS5 are words or nothing."""
    async with await harness.started() as index:
        await index.upsert([item("a", text="a fox and an owl"), item("b", text="near or not")])
        [matches] = await index.search_text([TextQuery(text=text)])
        expected = [name for name, held in (("a", "a fox and an owl"), ("b", "near or not")) if _shares(text, held)]
        assert expected == sorted(match.id for match in matches)


def _shares(text: str, held: str) -> bool:
    return bool({*distinct_words(text)} & {*distinct_words(held)})


async def test_a_query_may_have_thousands_of_words(harness: Harness) -> None:
    """A whole document can be asked for; words beyond what FTS5 keeps whole are told apart by their ends."""
    async with await harness.started() as index:
        long = "x" * 33_000
        await index.upsert([item("a", text="w7 w2999"), item("b", text=long + "a"), item("c", text=long + "b")])
        started = time.process_time()
        [matches] = await index.search_text([TextQuery(text=" ".join(f"w{n}" for n in range(30_000)))])
        assert time.process_time() - started < 5
        assert [match.id for match in matches] == ["a"]
        [matches] = await index.search_text([TextQuery(text=long + "b")])
        assert [match.id for match in matches] == ["c"]


async def test_the_words_of_a_long_query_add_up(harness: Harness, reference: Harness) -> None:
    """A query that is asked in several statements has the scores of one."""
    chance = random.Random(5)
    many = [f"w{n}" for n in range(700)]
    items = [item(f"i{n}", text=" ".join(chance.choices(many, k=chance.randint(0, 300)))) for n in range(30)]
    query = TextQuery(text=" ".join(many), where=F.text.exists(), top_k=20)
    async with await harness.started() as mine, await reference.started() as other:
        for store in (mine, other):
            await store.upsert(items)
        [[seen], [expected]] = [await store.search_text([query]) for store in (mine, other)]
        assert [match.id for match in expected] == [match.id for match in seen]
        assert [match.score for match in expected] == pytest.approx([match.score for match in seen], rel=1e-9)


@pytest.mark.parametrize("step", [1, 2, 50])
def test_few_and_many_candidates_have_the_same_scores(tmp_path: Path, step: int) -> None:
    """Whether SQLite is told the slots or asks for each, exactly they are searched."""
    chance = random.Random(2)
    provision(tmp_path / "v.db", IndexSpec(4), durability="normal", dry_run=False)
    with closing(connect(tmp_path / "v.db", create=False, durability="normal")) as connection:
        vector = array("f", [1, 0, 0, 0])
        items = [VectorItem(f"i{n:04d}", vector, {"text": f"mill {_sentence(chance)}"}) for n in range(9000)]
        Writes(connection, IndexSpec(4)).put("default", items)
        whole = Texts(connection).best(["mill", "fox"], 9000, None)
        slots = [int(found.id[1:]) + 1 for found in whole[::step]]
        assert Texts(connection).best(["mill", "fox"], 9000, [*slots, 10_000]) == whole[::step]
        assert Texts(connection).best(["mill", "fox"], 9000, []) == []


async def test_equal_scores_go_by_id_also_at_the_end(harness: Harness) -> None:
    """Of many texts that answer equally well the first by id are given, whatever the order they came in."""
    async with await harness.started() as index:
        ids = [f"i{n:03d}" for n in range(200)]
        await index.upsert([item(name, text="one fox") for name in sorted(ids, key=hash)])
        [matches] = await index.search_text([TextQuery(text="fox one", top_k=7)])
        assert [match.id for match in matches] == ids[:7]


async def test_searches_by_words_see_whole_calls(harness: Harness) -> None:
    """While texts are replaced again and again, here and in another index on the file every answer is of one moment."""
    async with await harness.started(durability="normal") as index, harness.make() as other:
        done = asyncio.Event()

        async def write() -> None:
            for turn in range(30):
                await index.upsert([item(f"i{n}", text=f"mill {turn}", turn=turn) for n in range(15)])
            done.set()

        async def read(store: Any) -> None:
            last = -1
            while not done.is_set():
                everything, newest = await store.search_text([TextQuery(text="mill", top_k=50), TextQuery(text="29")])
                turns = {match.metadata["turn"] for match in everything}
                assert (len(everything), len(turns)) in ((0, 0), (15, 1))
                assert bool(newest) == (turns == {29})
                assert last <= max(turns, default=last)
                last = max(turns, default=last)

        await asyncio.gather(write(), read(index), read(other))


async def test_many_texts_are_written_and_found_fast(harness: Harness) -> None:
    """With thousands of texts a small upsert and a selective search cost milliseconds, not a pass over all."""
    chance = random.Random(1)
    rare = [f"w{n}" for n in range(2000)]
    texts = [" ".join(chance.choices(rare, k=40)) for _ in range(4000)]
    async with await harness.started(durability="normal") as index:
        await index.upsert([VectorItem(f"i{n}", vector(1), {"text": text, "n": n}) for n, text in enumerate(texts)])
        await index.search_text([TextQuery(text="w1")])
        started = time.process_time()
        for turn in range(10):
            await index.upsert([VectorItem(f"n{turn}", vector(1), {"text": texts[turn], "n": -1})])
            [matches] = await index.search_text([TextQuery(text=texts[turn], where=F.n == -1)])
            assert f"n{turn}" in {match.id for match in matches}
        assert (time.process_time() - started) / 10 < 0.1
