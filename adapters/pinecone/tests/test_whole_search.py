"""Search through a whole store: the index lags, does not search by words, and answers over the wire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_pinecone.testing import Admin

import storycore
from storycore.app import Store
from storycore.errors import StaleRead
from storycore.filters import F
from storycore.ports.vectors import VectorItem, WriteToken

TEXTS = {
    "canal": "Freight boats sailed the Kanawha canal around the falls.",
    "mill": "The Haxall mill ground flour until 1865.",
    "tunnel": "Locomotive number 231 is sealed in the tunnel under Church Hill.",
    "poet": "Poe edited the Southern Literary Messenger.",
}


@pytest_asyncio.fixture
async def store(local_pinecone: Mapping[str, object], admin: Admin, tmp_path: Path) -> AsyncIterator[Store]:
    """A store whose vectors are on the local server, and everything else in memory."""
    vectors = {"adapter": "pinecone", "index": "searched", **local_pinecone}
    async with storycore.open("memory", dir=tmp_path, overrides={"vectors": vectors}) as opened:
        await opened.init()
        yield opened


async def filled(store: Store, names: tuple[str, ...] = tuple(TEXTS), **options: str) -> WriteToken:
    """Embed and write the texts."""
    found = await store.embedder.embed([TEXTS[name] for name in names], purpose="document")
    items = [VectorItem(name, vector, {"text": TEXTS[name]}) for name, vector in zip(names, found, strict=True)]
    return (await store.vectors.upsert(items, **options)).token


async def test_a_search_waits_for_the_write_it_names(store: Store, admin: Admin) -> None:
    """The first reads do not show the write; the search repeats them, and gives up at once when it may not wait."""
    admin.turn(visible_after_reads=3)
    token = await filled(store)
    with pytest.raises(StaleRead):
        await store.search("boats on the canal", at_least=token, wait=0)
    hits = await store.search("boats on the canal", at_least=token, top_k=1)
    assert [hit.id for hit in hits] == ["canal"]


async def test_a_wait_has_its_end(store: Store, admin: Admin) -> None:
    """What stays unseen is a stale read, after the time that the search gave."""
    admin.turn(visible_after_ms=60_000)
    token = await filled(store)
    begun = time.perf_counter()
    with pytest.raises(StaleRead):
        await store.search("boats", at_least=token, wait=0.05)
    assert 0.05 <= time.perf_counter() - begun < 5


async def test_words_rank_what_meaning_has_found(store: Store) -> None:
    """Names and numbers come first although the index does not search by words, under the filter as well."""
    await filled(store)
    assert [hit.id for hit in await store.search("231", mode="words")] == ["tunnel"]
    assert (await store.search("Haxall"))[0].id == "mill"
    assert await store.search("Haxall", mode="words", where=F.text == TEXTS["poet"]) == []
    assert [hit.id for hit in await store.search("the mill", rerank=True, top_k=1)] == ["mill"]


async def test_namespaces_and_diversity(store: Store) -> None:
    """Each namespace is asked, those that nobody has written to are empty, and vectors come along for diversity."""
    await filled(store)
    await filled(store, ("poet",), namespace="letters")
    hits = await store.search("Poe edited the Messenger", namespace=["default", "letters", "none"], top_k=10)
    assert [(hit.id, hit.namespace) for hit in hits[:2]] == [("poet", "default"), ("poet", "letters")]
    varied = await store.search("Poe", namespace=["default", "letters"], top_k=2, diversity=1)
    assert len({hit.id for hit in varied}) == 2


async def test_the_plan_says_what_the_index_cannot(store: Store) -> None:
    """Words are looked for among the candidates, and the plan says that they may miss."""
    await filled(store)
    plan = await store.search.explain("Haxall", timed=True)
    assert [(leg.leg, leg.way) for leg in plan.legs if leg.leg == "words"] == [("words", "pool")]
    assert "does not search by words" in plan.notes[0]
    assert plan.found == len(TEXTS)
