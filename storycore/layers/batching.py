"""Batching: any number of texts becomes calls of the size that the embedder's service takes, each text once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from itertools import islice

from storycore.errors import StorycoreError
from storycore.layers.checks.forward import Forward
from storycore.ports.embeddings import Embedder, EmbeddingSpec, Purpose
from storycore.ports.vectors import Vector

__all__ = ["BatchedEmbedder", "spread"]

_NAMED_POSITIONS = 20


class BatchedEmbedder(Forward[Embedder]):
    """The same port; equal texts of a call are embedded once, and no call of ``inner`` is longer than it wants.

    Where ``inner`` says ``embedder.batch`` in its limits, a call has as many texts at most, and ``embedder.calls`` of
    them go at the same time. So what stands inside, pacing and retrying, sees single requests of the service: one that
    fails is repeated alone. When a request fails for good, those that have not begun are not made, and the error's note
    tells the positions that it concerns.

    Args:
        inner: the embedder, without its checks.
    """

    def __init__(self, inner: Embedder) -> None:
        super().__init__(inner)
        limits = inner.capabilities.limits
        self._size = limits.get("embedder.batch")
        self._calls = limits.get("embedder.calls", 1)

    @property
    def spec(self) -> EmbeddingSpec:
        """The model."""
        return self.inner.spec

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order."""
        distinct = list(dict.fromkeys(texts))
        if self._size is None or len(distinct) <= self._size:
            vectors = await self.inner.embed(distinct, purpose=purpose)
            return spread(texts, dict(zip(distinct, vectors, strict=True)))
        batches = _parts(distinct, self._size)
        found: dict[str, Vector] = {}
        workers = min(self._calls, -(-len(distinct) // self._size))
        await _all_or_first_failure([self._work(batches, texts, purpose, found) for _ in range(workers)])
        return spread(texts, found)

    async def _work(
        self, batches: Iterator[Sequence[str]], texts: Sequence[str], purpose: Purpose, found: dict[str, Vector]
    ) -> None:
        """Embed one batch after the other until none is left."""
        for batch in batches:
            try:
                vectors = await self.inner.embed(batch, purpose=purpose)
            except StorycoreError as exc:
                exc.add_note(_place(batch, texts))
                raise
            found.update(zip(batch, vectors, strict=True))


def spread(texts: Sequence[str], found: Mapping[str, Vector]) -> list[Vector]:
    """The vector of each text, in order; every caller's vectors are his own, so repeated texts get copies."""
    handed: set[str] = set()
    vectors: list[Vector] = []
    for text in texts:
        vectors.append(found[text][:] if text in handed else found[text])
        handed.add(text)
    return vectors


def _parts(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def _place(batch: Sequence[str], texts: Sequence[str]) -> str:
    """Which texts of the call a batch stands for."""
    concerned = set(batch)
    positions = list(islice((i for i, text in enumerate(texts) if text in concerned), _NAMED_POSITIONS + 1))
    listed = ", ".join(map(str, positions[:_NAMED_POSITIONS])) + (" …" if len(positions) > _NAMED_POSITIONS else "")
    return f"Of {len(texts)} texts to embed, this concerns those at the positions {listed}."


async def _all_or_first_failure(jobs: Sequence[Coroutine[object, object, None]]) -> None:
    """Run jobs at once; when one fails, or the caller is cancelled, the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
