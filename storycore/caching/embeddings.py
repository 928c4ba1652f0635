"""The Embedder port behind a cache of vectors: a text that a model has embedded need not be embedded again."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Any

from storycore.caching.caching import Caching
from storycore.caching.codecs import Unfit
from storycore.caching.policies import Duration
from storycore.caching.region import Region
from storycore.layers.batching import spread
from storycore.layers.checks.forward import Forward
from storycore.ports.embeddings import Embedder, EmbeddingSpec, Purpose
from storycore.ports.vectors import Vector

__all__ = ["CachedEmbedder", "VectorCodec"]

_SLICE = 256
"""Texts that are looked up with one call of the cache, so that no call is long."""
_LEASES: Mapping[Purpose, timedelta] = {"query": timedelta(seconds=2), "document": timedelta(minutes=1)}
"""Somebody may wait as long for another process that embeds the same query and has died; for documents nobody waits,
and a batch of them takes its time."""
_SWAPPED = sys.byteorder == "big"


class CachedEmbedder(Forward[Embedder]):
    """The same port, with vectors in the cache under the model's identity, the purpose and the text's SHA-256.

    The cache holds vectors and no texts. Whatever is damaged, of another dimension, or cannot be reached is embedded
    again: the cache fails no call. Equal queries at the same moment are embedded once.

    Args:
        inner: the embedder.
        caching: keeps the vectors under keys of their own; an outage of it costs what its deadlines say.
        ttl: how long a vector is kept; it never goes out of date.
        purposes: what is cached; other texts go through.
    """

    def __init__(
        self,
        inner: Embedder,
        caching: Caching,
        *,
        ttl: Duration = timedelta(days=30),
        purposes: Collection[Purpose] = ("query", "document"),
    ) -> None:
        super().__init__(inner)
        codec = VectorCodec(inner.spec.dimension)
        self._regions: dict[Purpose, Region[Vector]] = {
            purpose: caching.region(
                f"embedding:{purpose}:{{model}}:{{text}}", array, ttl=ttl, codec=codec, lease=_LEASES[purpose]
            )
            for purpose in purposes
        }

    @property
    def spec(self) -> EmbeddingSpec:
        """The model."""
        return self.inner.spec

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order, from the cache where it has them."""
        region = self._regions.get(purpose)
        if region is None or not texts:
            return await self.inner.embed(texts, purpose=purpose)
        distinct = list(dict.fromkeys(texts))
        if len(distinct) == 1 and purpose == "query":
            return spread(texts, {texts[0]: await self._one(region, texts[0])})
        found: dict[str, Vector] = {}
        for start in range(0, len(distinct), _SLICE):
            part = distinct[start : start + _SLICE]
            found.update(zip(part, await self._many(region, part, purpose), strict=True))
        return spread(texts, found)

    async def _one(self, region: Region[Vector], query: str) -> Vector:
        """The vector of a query, embedded once for all who ask at the same moment."""

        async def load(**_key: str) -> Vector:
            [vector] = await self.inner.embed([query], purpose="query")
            return vector

        return _present(await region.get_or_load(load=load, **self._key(query)))

    async def _many(self, region: Region[Vector], texts: Sequence[str], purpose: Purpose) -> list[Vector]:
        keys = [self._key(text) for text in texts]
        text_of = dict(zip((key["text"] for key in keys), texts, strict=True))

        async def load(missing: Sequence[Mapping[str, object]]) -> Sequence[Vector]:
            return await self.inner.embed([text_of[str(key["text"])] for key in missing], purpose=purpose)

        return [_present(vector) for vector in await region.get_or_load_many(keys, load_many=load)]

    def _key(self, text: str) -> dict[str, str]:
        return {"model": self.spec.model, "text": sha256(text.encode()).hexdigest()}


class VectorCodec:
    """Vectors of one dimension, as little-endian float32.

    Args:
        dimension: of the vectors; bytes of another one are none.
    """

    allows_none = False

    def __init__(self, dimension: int) -> None:
        self.schema = blake2b(f"storycore vector 1 {dimension}".encode(), digest_size=8).digest()
        self._dimension = dimension

    def encode(self, value: Vector) -> bytes:
        """The vector as bytes."""
        if len(value) != self._dimension or value.typecode != "f":
            raise Unfit("not a vector of this dimension")
        return _swapped(value).tobytes()

    def decode(self, payload: bytes) -> Vector:
        """The vector; ``ValueError`` for bytes that are none."""
        if len(payload) != 4 * self._dimension:
            raise ValueError("These bytes are no vector of this dimension.")
        return _swapped(array("f", payload))

    def keep(self, payload: bytes, value: Vector) -> object:
        """The bytes, which nobody can change."""
        return payload

    def give(self, kept: Any) -> Vector:
        """A vector of the caller's own."""
        return self.decode(kept)


def _swapped(vector: Vector) -> Vector:
    if not _SWAPPED:
        return vector
    other = vector[:]
    other.byteswap()
    return other


def _present(vector: Vector | None) -> Vector:
    assert vector is not None  # an embedder gives one for each text
    return vector
