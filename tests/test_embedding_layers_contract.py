"""An embedder behind batches and a cache keeps the whole Embedder contract; and the suite sees when they are wrong."""

from __future__ import annotations

import inspect
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from storycore.caching import Caching
from storycore.caching.embeddings import CachedEmbedder
from storycore.layers.batching import BatchedEmbedder
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig, MemoryEmbedderConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.plugins import Adapter
from storycore.ports.capabilities import Capabilities
from storycore.ports.embeddings import Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Vector
from storycore.testing.embeddings import EmbedderSuite
from storycore.testing.trials import failure


class Service(MemoryEmbedder):
    """An embedder that takes seven texts a request, three requests at once, and embeds for a purpose."""

    def __init__(self) -> None:
        super().__init__(256)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(limits={"embedder.batch": 7, "embedder.calls": 3})

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        assert len(texts) <= 7
        assert len(texts) == len(set(texts))
        return await super().embed([f"{purpose}: {text}" for text in texts], purpose=purpose)


class Layered(CachedEmbedder):
    """The service behind batches and a cache of its own."""

    def __init__(self, config: MemoryEmbedderConfig, env: Environment) -> None:
        self._port = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env))
        self.caching = Caching(self._port, env)
        super().__init__(BatchedEmbedder(Service()), self.caching)

    async def open(self) -> None:
        await self._port.open()
        await super().open()

    async def close(self) -> None:
        await self.caching.close()
        await super().close()
        await self._port.close()


class TestLayeredEmbedder(EmbedderSuite):
    adapter = Adapter(name="memory", ports={PortName.EMBEDDER: f"{__name__}:Layered"}, config=MemoryEmbedderConfig)


class LastBatchIsLost(BatchedEmbedder):
    """The last batch is left out, and its texts get the first vector."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        kept = list(texts)[: max(7, len(texts) - 1)]
        vectors = await super().embed(kept, purpose=purpose)
        return vectors + [vectors[0][:] for _ in range(len(texts) - len(kept))]


class SortedTexts(BatchedEmbedder):
    """Texts are sorted, and vectors stay so."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed(sorted(texts), purpose=purpose)


class EachTextOnce(BatchedEmbedder):
    """Equal texts are embedded and returned once."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed(list(dict.fromkeys(texts)), purpose=purpose)


class OnePurpose(BatchedEmbedder):
    """All texts are documents once one was."""

    purpose: Purpose | None = None

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.purpose = "document" if purpose == "document" else self.purpose or purpose
        return await super().embed(texts, purpose=self.purpose)


class SharedVectors(Layered):
    """Repeated texts get one object."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        found = dict(zip(texts, await super().embed(texts, purpose=purpose), strict=True))
        return [found[text] for text in texts]


class Truncated(Layered):
    """The key is of a text's first characters."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed([text[:300] for text in texts], purpose=purpose)


class ForgetsThePurpose(Layered):
    """What was embedded for one purpose is given for the other."""

    def __init__(self, config: MemoryEmbedderConfig, env: Environment) -> None:
        super().__init__(config, env)
        self.known: dict[str, Vector] = {}

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        for text, vector in zip(texts, await super().embed(texts, purpose=purpose), strict=True):
            if purpose == "document" or text not in self.known:
                self.known[text] = vector
        return [array("f", self.known[text]) for text in texts]


class HandsOutItsOwn(Layered):
    """The vector in the memory of the cache is the caller's."""

    def __init__(self, config: MemoryEmbedderConfig, env: Environment) -> None:
        super().__init__(config, env)
        self.known: dict[tuple[str, str], Vector] = {}

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        for text, vector in zip(texts, await super().embed(texts, purpose=purpose), strict=True):
            self.known.setdefault((purpose, text), vector)
        return [self.known[purpose, text] for text in texts]


FAULTY_BATCHES = [LastBatchIsLost, SortedTexts, EachTextOnce, OnePurpose]
FAULTY_CACHES = [SharedVectors, Truncated, ForgetsThePurpose, HandsOutItsOwn]
TESTS = [
    name
    for name, _ in inspect.getmembers(EmbedderSuite, inspect.isfunction)
    if name.startswith("test_") and "process" not in name and "event_loop" not in name
]


@pytest.mark.parametrize("faulty", FAULTY_BATCHES, ids=lambda cls: cls.__name__)
async def test_faulty_batches_fail_the_suite(faulty: type[BatchedEmbedder], tmp_path: Path) -> None:
    """At least one test of the suite fails on batches with this fault, whose wrong vectors no cache keeps."""
    assert await _first_failure(lambda env: faulty(Service()), tmp_path) is not None, faulty.__doc__


@pytest.mark.parametrize("faulty", FAULTY_CACHES, ids=lambda cls: cls.__name__)
async def test_a_faulty_cache_fails_the_suite(faulty: type[Layered], tmp_path: Path) -> None:
    """At least one test of the suite fails on a cache with this fault."""
    assert await _first_failure(lambda env: faulty(MemoryEmbedderConfig(), env), tmp_path) is not None, faulty.__doc__


async def test_the_layers_themselves_pass_the_same_run(tmp_path: Path) -> None:
    """The run that catches the faults finds none in the layers, so that a catch means something."""
    (tmp_path / "batches").mkdir()
    (tmp_path / "cache").mkdir()
    assert await _first_failure(lambda env: BatchedEmbedder(Service()), tmp_path / "batches") is None
    assert await _first_failure(lambda env: Layered(MemoryEmbedderConfig(), env), tmp_path / "cache") is None


async def _first_failure(factory: Callable[[Environment], Any], path: Path) -> str | None:
    for test in TESTS:
        place = path / test
        place.mkdir()
        problem = await failure(EmbedderSuite, PortName.EMBEDDER, test, factory, place)
        if problem is not None:
            return problem
    return None
