"""The cache of vectors: what is kept under which key, what it does when it is damaged or down, and what it costs."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.caching import CachedEmbedder, Caching
from storycore.caching.embeddings import VectorCodec
from storycore.errors import Unavailable
from storycore.hooks import hookimpl
from storycore.layers.around import Around
from storycore.layers.checks import checked
from storycore.layers.metrics import Metrics
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig, MemoryEmbedderConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.plugins import Adapter
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.embeddings import EmbeddingSpec, Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Vector
from storycore.testing.faults import Fault, Faults, by_chance
from storycore.testing.virtual_time import LoopClock, VirtualLoop

TEXTS = ["river", "bridge", "canal"]


class Model(MemoryEmbedder):
    """An embedder that counts as semantic, and notes the texts that it is asked for."""

    def __init__(self, dimension: int = 16, model: str = "acme/model:1") -> None:
        super().__init__(dimension)
        self.model = model
        self.asked: list[str] = []
        self.fails = False

    @property
    def spec(self) -> EmbeddingSpec:
        return replace(super().spec, model=self.model, semantic=True)

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.asked += texts
        if self.fails:
            raise Unavailable("the model is down")
        return await super().embed([f"{purpose}: {text}" for text in texts], purpose=purpose)


class Known(Model):
    """A model that needs no thread, for tests on time of their own."""

    def vector(self, text: str) -> Vector:
        """The vector of a text."""
        return array("f", [float(len(text)), *text.encode()[:1].ljust(15, b"x")])

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [self.vector(text) for text in texts]


@asynccontextmanager
async def opened_cache() -> AsyncIterator[Cache]:
    """An empty cache in memory."""
    port: Cache = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), Environment()))
    async with port:
        yield port


def session(port: Cache, model: Model, **settings: Any) -> CachedEmbedder:
    """The model behind a cache without anything in its memory, as another process would have it."""
    return CachedEmbedder(model, Caching(port, Environment(), l1_ttl=settings.pop("l1_ttl", 0)), **settings)


async def embedded(model: Model, texts: Sequence[str], purpose: Purpose = "query") -> list[Vector]:
    """What the model itself gives, without noting it."""
    asked, model.asked = model.asked, []
    vectors = await model.embed(texts, purpose=purpose)
    model.asked = asked
    return vectors


async def test_a_text_is_embedded_once_for_a_purpose() -> None:
    """The second time, and in another process, it comes from the cache; for the other purpose it is another text."""
    async with opened_cache() as port, Model() as model:
        first = session(port, model)
        expected = await embedded(model, TEXTS)
        assert expected == await first.embed(TEXTS, purpose="query")
        assert expected == await session(port, model).embed(TEXTS, purpose="query")
        assert model.asked == TEXTS
        await first.embed(["river", "lake"], purpose="query")
        await first.embed(["river"], purpose="document")
        assert model.asked == [*TEXTS, "lake", "river"]


async def test_equal_texts_of_a_call_have_vectors_of_their_own() -> None:
    """They are embedded once, and changing one changes no other, nor what the cache holds."""
    async with opened_cache() as port, Model() as model:
        cached = session(port, model, l1_ttl="auto")
        for _ in range(2):
            first, second = await cached.embed(["river", "river"], purpose="query")
            first[0] += 5.0
            assert [second] == await embedded(model, ["river"])
        assert model.asked == ["river"]


async def test_keys_tell_the_model_and_no_text() -> None:
    """Who reads the cache learns no text: a key holds the model's identity, the purpose and a SHA-256."""
    async with opened_cache() as port, Model() as model:
        await session(port, model).embed(["river"], purpose="query")
        (key,) = (await port.keys()).keys
        (value,) = await port.get([key])
    assert sha256(b"river").hexdigest() in key
    assert "acme" in key
    assert "query" in key
    assert b"river" not in key.encode() + (value or b"")


async def test_models_and_dimensions_do_not_mix() -> None:
    """Another identity has other keys; a vector of another dimension under the same key is none."""
    async with opened_cache() as port, Model() as small, Model(32) as large, Model(model="acme/model:2") as other:
        await session(port, small).embed(["river"], purpose="query")
        for model in (large, other):
            assert await embedded(model, ["river"]) == await session(port, model).embed(["river"], purpose="query")
            assert model.asked == ["river"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign", "swapped"])
async def test_what_is_damaged_is_embedded_again(damage: str) -> None:
    """Damaged bytes, somebody else's and another text's are misses, and are replaced."""
    async with opened_cache() as port, Model() as model:
        await session(port, model).embed(["river", "bridge"], purpose="query")
        keys = (await port.keys()).keys
        values = [value or b"" for value in await port.get(keys)]
        damaged = {
            "cut": [value[:-3] for value in values],
            "empty": [b""] * 2,
            "flipped": [value[:60] + bytes([value[60] ^ 1]) + value[61:] for value in values],
            "foreign": [b"\0" * len(value) for value in values],
            "swapped": values[::-1],
        }[damage]
        minute = timedelta(minutes=1)
        await port.put([CacheItem(key, value, minute) for key, value in zip(keys, damaged, strict=True)])
        expected = await embedded(model, ["river", "bridge"])
        for _ in range(2):
            assert expected == await session(port, model).embed(["river", "bridge"], purpose="query")
    assert model.asked == ["river", "bridge"] * 2


async def test_a_cache_that_is_down_fails_no_call() -> None:
    """One text or many: they are embedded as if there were no cache."""
    port = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), Environment()))  # which nobody opens
    async with Model() as model:
        cached = session(port, model)
        assert await embedded(model, TEXTS) == await cached.embed(TEXTS, purpose="query")
        assert await embedded(model, ["river"]) == await cached.embed(["river"], purpose="query")
    assert model.asked == [*TEXTS, "river"]


@pytest.mark.parametrize("seed", range(8))
def test_a_cache_that_fails_now_and_then_gives_no_wrong_vector(seed: int) -> None:
    """Whatever calls of the cache fail, before or after they took effect: each text gets its vector, and soon."""
    chance = random.Random(seed)
    loop = VirtualLoop()
    env = Environment(clock=LoopClock(loop), random=chance)

    async def main() -> float:
        port: Cache = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env))
        async with port, Known() as model:
            faults = Faults(PortName.CACHE)
            faults.plan(by_chance(chance, 0.4, Fault.BEFORE, Fault.LOST, Fault.AFTER, Fault.THROTTLED))
            for _ in range(15):
                cached = CachedEmbedder(model, Caching(faults.around(port), env, l1_ttl=chance.choice([0, 60])))
                texts = chance.choices(TEXTS, k=chance.randint(1, 5))
                assert [model.vector(text) for text in texts] == await cached.embed(texts, purpose="query")
            return loop.time()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main()) < 15 * 2.5


async def test_a_failing_model_is_not_remembered() -> None:
    """Its error is the caller's, and the next call asks it again."""
    async with opened_cache() as port, Model() as model:
        cached = session(port, model)
        model.fails = True
        for texts in (["river"], TEXTS):
            with pytest.raises(Unavailable, match="the model is down"):
                await cached.embed(texts, purpose="query")
        model.fails = False
        assert await embedded(model, TEXTS) == await cached.embed(TEXTS, purpose="query")


async def test_equal_queries_at_one_moment_are_embedded_once() -> None:
    """All who ask share one call of the model, each with a vector of his own."""
    async with opened_cache() as port, Model() as model:
        cached = session(port, model, l1_ttl="auto")
        found = await asyncio.gather(*(cached.embed(["river"], purpose="query") for _ in range(20)))
        assert model.asked == ["river"]
        assert len({id(vector) for [vector] in found}) == 20
        assert all(vector == found[0][0] for [vector] in found)


async def test_many_texts_are_few_calls_of_the_cache() -> None:
    """Six hundred texts are three calls to look, three to fill; once they are known, three to look."""
    async with opened_cache() as port, Model() as model:
        metrics = Metrics()
        counted: Any = Around(PortName.CACHE, port, [metrics])
        texts = [f"text {i}" for i in range(600)]
        for _ in range(2):
            await session(counted, model).embed(texts, purpose="document")
        calls = {name: count["calls"] for name, count in metrics.as_dict()["cache"].items()}
        assert len(model.asked) == 600
    assert calls["fill"] == 3
    assert calls["get"] + calls["acquire"] <= 9


@pytest.mark.parametrize("payload", [b"", b"\0" * 12, b"\0" * 20])
def test_bytes_of_another_length_are_no_vector(payload: bytes) -> None:
    """The codec takes float32 numbers of its dimension alone."""
    with pytest.raises(ValueError, match="dimension"):
        VectorCodec(4).decode(payload)


def test_the_bytes_of_a_vector_are_those_of_every_machine() -> None:
    """Little-endian float32, so that machines of either order may share a cache."""
    codec = VectorCodec(2)
    assert codec.decode(bytes.fromhex("0000803f000000c0")).tolist() == [1.0, -2.0]
    assert codec.encode(codec.decode(bytes.fromhex("0000803f000000c0"))).hex() == "0000803f000000c0"


# In a store.


class Plugin:
    """Brings the model as an adapter."""

    @hookimpl
    def storycore_adapters(self) -> list[Adapter]:
        opener = f"{__name__}:open_model"
        return [Adapter(name="acme", ports={PortName.EMBEDDER: opener}, config=MemoryEmbedderConfig, summary="")]


_MODELS: list[Model] = []


def open_model(config: MemoryEmbedderConfig, env: Environment) -> Model:
    """Make the model of the plugin's adapter."""
    _MODELS.append(Model(config.dimension))
    return _MODELS[-1]


async def _asked_twice(folder: Path, caching: Mapping[str, object], purpose: Purpose) -> list[str]:
    """What the model is asked for when two stores, one after the other, embed the same text twice."""
    overrides = {"embedder": "acme://", "cache": "diskcache:///{dir}/cache", "caching": caching}
    made = len(_MODELS)
    for _ in range(2):
        async with storycore.open("memory", dir=folder, overrides=overrides, plugins=[Plugin()]) as store:
            await store.init(warm_cache=False)
            for _ in range(2):
                await store.embedder.embed(["river"], purpose=purpose)
    return [text for model in _MODELS[made:] for text in model.asked]


@pytest.mark.parametrize(
    ("caching", "purpose", "count"),
    [
        ({}, "query", 1),
        ({}, "document", 4),
        ({"embeddings": "all"}, "document", 1),
        ({"embeddings": "none"}, "query", 4),
    ],
)
async def test_the_profile_says_what_is_cached(
    tmp_path: Path, caching: Mapping[str, object], purpose: Purpose, count: int
) -> None:
    """Queries by default, also for the next process; all texts or none where the profile says so."""
    assert await _asked_twice(tmp_path, caching, purpose) == ["river"] * count


async def test_a_hash_is_not_cached() -> None:
    """What is not semantic costs less than a look into the cache."""
    async with storycore.open("memory", overrides={"caching": {"embeddings": "all"}}) as store:
        await store.embedder.embed(["river"], purpose="query")
        assert [name for name in store.cache.stats().regions if name.startswith("embedding")] == []


async def test_the_statistics_tell_of_the_vectors() -> None:
    """``store.stats()`` lists hits and misses of the vectors as a region, and the embedder's calls without the hits."""
    async with storycore.open("memory", overrides={"embedder": "acme://"}, plugins=[Plugin()]) as store:
        for _ in range(3):
            await store.embedder.embed(["river"], purpose="query")
        stats = await store.stats()
    region = stats["cache"]["regions"]["embedding:query:{model}:{text}"]
    assert (region["hits"], region["misses"], stats["operations"]["embedder"]["embed"]["calls"]) == (2, 1, 1)
