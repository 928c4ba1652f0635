"""The hash embedder: words and character trigrams counted into buckets. For tests; near meaning is not near here."""

from __future__ import annotations

import asyncio
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

from storycore.memory.config import MemoryEmbedderConfig
from storycore.ports.capabilities import Capabilities
from storycore.ports.embeddings import EmbeddingSpec, Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore.ports.vectors import Vector

__all__ = ["MemoryEmbedder", "open_embedder"]

_NO_LIMIT = 2**31 - 1
_WORD = re.compile(r"\w+")
_WORD_WEIGHT = 3.0


class MemoryEmbedder(Lifecycle):
    """Deterministic in every process and on every machine, because the hash is CRC-32 and the arithmetic is exact.

    Args:
        dimension: number of buckets, which is the length of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._spec = EmbeddingSpec(f"storycore-hash-{dimension}", dimension, max_tokens=_NO_LIMIT, semantic=False)
        self._thread: ThreadPoolExecutor | None = None

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("memory")

    @property
    def capabilities(self) -> Capabilities:
        """Nothing is kept, so nothing is claimed."""
        return Capabilities()

    @property
    def spec(self) -> EmbeddingSpec:
        """A model that is not semantic."""
        return self._spec

    async def open(self) -> None:
        """Make the thread in which texts are hashed."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="storycore-hash")
        await super().open()

    async def health(self, *, deep: bool = False) -> Health:
        """Whether it is open."""
        return Health(self._opened, "" if self._opened else "The hash embedder is not open; call open() first.")

    async def close(self) -> None:
        """Let the thread go."""
        await super().close()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order; both purposes give the same."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: [_embed(text, self._spec.dimension) for text in texts]
        )


def open_embedder(config: MemoryEmbedderConfig, env: Environment) -> MemoryEmbedder:
    """Make the hash embedder, not yet open."""
    return MemoryEmbedder(config.dimension)


def _embed(text: str, dimension: int) -> Vector:
    buckets = [0.0] * dimension
    for feature, weight in _features(text.casefold()):
        number = crc32(feature.encode())
        buckets[(number >> 1) % dimension] += weight if number & 1 else -weight
    length = math.sqrt(sum(value * value for value in buckets))
    if length == 0.0:  # all features met their opposites
        buckets[crc32(text.encode()) % dimension] = length = 1.0
    return array("f", [value / length for value in buckets])


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in _WORD.findall(text):
        yield word, _WORD_WEIGHT
    framed = f" {text} "
    for start in range(len(framed) - 2):
        yield "#" + framed[start : start + 3], 1.0
