"""What embedding costs beside what finding a vector in the cache costs, and what the layers add.

    python benchmarks/embeddings.py

Medians of wall time a text, in microseconds, of MiniLM and of Titan on the local emulator (whose own time is in it).
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from storycore.caching import CachedEmbedder, Caching
from storycore.layers.batching import BatchedEmbedder
from storycore.layers.checks import checked
from storycore.plugins import Plugins
from storycore.ports.cache import Cache
from storycore.ports.embeddings import Embedder, Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

ROUNDS = 200
BATCH = 256
CHUNK = "Barges carried flour, and mules walked the towpath beside them, all the way to the mountains. " * 9


def adapter(port: PortName, name: str, **settings: object) -> Any:  # whichever port it is
    spec = Plugins().adapter(name)
    return checked(port, spec.opener(port)(spec.config_for(port).model_validate(settings), Environment()))


async def median(call: Callable[[int], Awaitable[object]], *, rounds: int = ROUNDS, texts: int = 1) -> float:
    """Microseconds a text."""
    took = []
    for turn in range(rounds):
        begun = time.perf_counter()
        await call(turn)
        took.append(time.perf_counter() - begun)
    return statistics.median(took) / texts * 1e6


def asking(embedder: Embedder, prefix: str, purpose: Purpose = "query") -> Callable[[int], Awaitable[object]]:
    return lambda turn: embedder.embed([f"{prefix} where does the river fall? {turn % 50}"], purpose=purpose)


def batch(prefix: object) -> Sequence[str]:
    return [f"{prefix} {i} {CHUNK}" for i in range(BATCH)]


async def measure(embedder: Embedder, cache: Cache) -> dict[str, float]:
    """What a query and a chunk cost with and without the cache."""
    batched = BatchedEmbedder(embedder)
    near, far = (CachedEmbedder(batched, Caching(cache, l1_ttl=ttl)) for ttl in (None, 0))
    found = {"a query, bare": await median(asking(embedder, "bare"))}
    found["a query, batched"] = await median(asking(batched, "batched"))
    found["a query, first time"] = await median(lambda i: far.embed([f"{i} first time"], purpose="query"), rounds=50)
    for name, cached in (("in memory", near), ("in the cache", far)):
        await median(asking(cached, name), rounds=50)
        found[f"a query, {name}"] = await median(asking(cached, name))
    texts = batch("x")
    found["a chunk, bare"] = await median(lambda _: embedder.embed(texts, purpose="document"), rounds=1, texts=BATCH)
    found["a chunk, first time"] = await median(lambda _: far.embed(texts, purpose="document"), rounds=1, texts=BATCH)
    found["a chunk, in the cache"] = await median(
        lambda _: far.embed(texts, purpose="document"), rounds=20, texts=BATCH
    )
    return found


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Plugins().adapter("bedrock").serving() as place:
        cache = adapter(PortName.CACHE, "diskcache", path=Path(folder) / "cache")
        await cache.ensure()
        async with (
            cache,
            adapter(PortName.EMBEDDER, "minilm", threads=2) as minilm,
            adapter(PortName.EMBEDDER, "bedrock", **place) as titan,
        ):
            tables = {"minilm": await measure(minilm, cache), "titan": await measure(titan, cache)}
    print(f"{'microseconds a text':24}" + "".join(f"{name:>10}" for name in tables))
    for row in tables["minilm"]:
        print(f"{row:24}" + "".join(f"{table[row]:10.0f}" for table in tables.values()))


if __name__ == "__main__":
    asyncio.run(main())
