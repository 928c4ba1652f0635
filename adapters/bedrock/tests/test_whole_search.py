"""A store whose texts are embedded and reranked by Bedrock: ingestion and search, throttled on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storycore_bedrock.testing import Knobs

import storycore

PAGES = {
    "canal.md": "# Canal\n\nThe canal carried freight boats around the falls of the river.\n",
    "poe.md": "# Poe\n\nThe poet edited the literary messenger for two years.\n",
    "rail.md": "# Rail\n\nThree railroad lines cross here, one above the other.\n",
}


async def test_a_store_ingests_searches_and_reranks(tmp_path: Path, server: Mapping[str, object], knobs: Knobs) -> None:
    """Throttling costs pauses and nothing else; a query that is asked again is not embedded again."""
    pages = tmp_path / "pages"
    pages.mkdir()
    for name, text in PAGES.items():
        (pages / name).write_text(text)
    place = {"adapter": "bedrock", **server, "retry_base_ms": 1}
    pace = [{"use": "pace", "requests_per_minute": 60_000}]
    overrides = {"embedder": {**place, "dimension": 512, "layers": pace}, "reranker": place}
    async with storycore.open("memory", dir=tmp_path, overrides=overrides) as store:
        knobs.refuse("ThrottlingException", status=429, times=2, retry_after=0.001)
        report = await store.ingest(pages)
        assert (report.ok, (await store.vectors.stats()).total) == (True, 3)
        knobs.seen()
        for _ in range(2):
            found = await store.search("Which canal carried freight boats?", top_k=2, rerank=True)
            assert "canal" in str(found[0].source)
        paths = [request["path"] for request in knobs.seen()]
        consumed = (await store.stats())["consumed"]
    assert [path.count("invoke") for path in paths].count(1) == 1
    assert paths.count("/rerank") == 2
    assert consumed["embedder"]["InvokeModel"]["calls"] == 4
