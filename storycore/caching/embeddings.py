"""The Embedder port behind a cache of vectors: a text that a model has embedded need not be embedded again."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from hashlib import blake2b, sha256
from typing import Any

from storycore.caching.caching import Caching
from storycore.caching.codecs import Unfit
from storycore.caching.policies import Duration
from storycore.layers.batching import spread
from storycore.layers.checks.forward import Forward
from storycore.ports.embeddings import Embedder, EmbeddingSpec, Purpose
from storycore.ports.vectors import Vector

__all__ = ["CachedEmbedder", "VectorCodec"]

_SLICE = 256
"""Texts that are looked up with one call of the cache, so that no call is long."""
_LEASE = timedelta(seconds=30)
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
        self._purposes = frozenset(purposes)
        self._vectors = caching.region(
            "embedding:{model}:{purpose}:{text}", array, ttl=ttl, codec=VectorCodec(inner.spec.dimension), lease=_LEASE
        )

    @property
    def spec(self) -> EmbeddingSpec:
        """The model."""
        return self.inner.spec

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order, from the cache where it has them."""
        if purpose not in self._purposes or not texts:
            return await self.inner.embed(texts, purpose=purpose)
        distinct = list(dict.fromkeys(texts))
        found: dict[str, Vector] = {}
        for start in range(0, len(distinct), _SLICE):
            part = distinct[start : start + _SLICE]
            found.update(zip(part, await self._slice(part, purpose), strict=True))
        return spread(texts, found)

    async def _slice(self, texts: Sequence[str], purpose: Purpose) -> list[Vector]:
        by_digest = {sha256(text.encode()).hexdigest(): text for text in texts}
        wanted = [{"model": self.spec.model, "purpose": purpose, "text": digest} for digest in by_digest]
        if len(wanted) == 1:
            one = await self._vectors.get_or_load(load=partial(self._one, texts[0], purpose), **wanted[0])
            return [_present(one)]
        many = partial(self._many, by_digest, purpose)
        return [_present(vector) for vector in await self._vectors.get_or_load_many(wanted, load_many=many)]

    async def _one(self, text_itself: str, purpose_itself: Purpose, **_parameters: object) -> Vector:
        [vector] = await self.inner.embed([text_itself], purpose=purpose_itself)
        return vector

    async def _many(
        self, texts: Mapping[str, str], purpose: Purpose, missing: Sequence[Mapping[str, object]]
    ) -> Sequence[Vector]:
        return await self.inner.embed([texts[str(one["text"])] for one in missing], purpose=purpose)


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
