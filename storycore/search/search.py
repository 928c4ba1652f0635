"""Search: a question becomes candidates by meaning and by words, one ranking, and hits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, Unpack

from storycore.errors import ConfigError
from storycore.ports.embeddings import Embedder
from storycore.ports.filters import Filter
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import DEFAULT_NAMESPACE, Match, Vector, VectorIndex, WriteToken
from storycore.search.candidates import Candidate, Key, key, ranked_by_meaning, ranked_by_words
from storycore.search.diversity import diversify
from storycore.search.fusion import fused
from storycore.search.hits import Hit, hits
from storycore.search.legs import Legs
from storycore.search.plans import SearchPlan, planned
from storycore.search.requests import Mode, Options, Request, request
from storycore.search.rereading import reread
from storycore.search.stopwatch import Stopwatch
from storycore.search.word_ranking import by_words

__all__ = ["Search"]

A = TypeVar("A")
B = TypeVar("B")


class Search:
    """Finds passages by meaning and by words. Call it: ``hits = await search("river trade")``.

    Args:
        vectors: an open index, filled by ingestion.
        embedder: the open embedder that filled it.
        reranker: an open reranker for ``rerank``; ``None``: there is none.
        namespace: where to look unless a call says otherwise.
    """

    def __init__(
        self,
        vectors: VectorIndex,
        embedder: Embedder,
        *,
        reranker: Reranker | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self._reranker = reranker
        self._namespace = namespace
        self._legs = Legs(vectors, embedder)

    async def __call__(
        self,
        query: str,
        *,
        mode: Mode | None = None,
        top_k: int = 5,
        where: Filter | Mapping[str, object] | None = None,
        min_score: float | None = None,
        namespace: str | Sequence[str] | None = None,
        diversity: float | None = None,
        rerank: bool | int = False,
        pool: int = 100,
        weights: tuple[float, float] = (1.0, 1.0),
        at_least: WriteToken | None = None,
        wait: float = 5.0,
    ) -> list[Hit]:
        """The passages that answer best, best first; an empty list when nothing matches.

        Args:
            query: a question or a few words.
            mode: ``"dense"`` is by meaning; ``"words"`` by the words of the query, where a passage without any of
                them is not found; ``"hybrid"`` fuses both by their ranks. ``None`` is hybrid, and dense when
                ``min_score`` is given and nothing is reranked. An index that does not search by words itself has the
                candidates by meaning ranked by their words instead.
            top_k: how many passages at most, 1 to 10 000.
            where: only passages whose metadata matches; ``F.source_type == "news"`` or the dict form.
            min_score: only passages whose score is at least this: of the reranker, else of meaning or words. Refused
                for a hybrid search that is not reranked, whose score tells the order alone.
            namespace: where to look, one or several; ``None`` takes the one given at construction. One that is not
                known is empty; repeated ones count once.
            diversity: 0 to 1: how much results should differ from each other rather than be near to the query;
                ``None`` leaves them as they are ranked.
            rerank: whether the reranker orders the 50 best candidates anew, or how many it is to read; never fewer
                than ``top_k``. Passages without text are left out.
            pool: how many candidates each leg of a hybrid search brings, 1 to 10 000, never fewer than ``top_k``.
            weights: how much meaning and words count in a hybrid search.
            at_least: see everything up to this write.
            wait: how many seconds to wait for it.

        Raises:
            InvalidArgument: the query is blank or not valid Unicode, or an argument is out of range.
            InvalidFilter: ``where`` cannot be read.
            SchemaMismatch: the index was filled by another embedding model.
            ConfigError: ``rerank`` without a reranker. What a reranker raises is raised; no other order is given out.
            StaleRead: the index has not seen ``at_least`` in time.
        """
        asked = request(
            query,
            home=self._namespace,
            mode=mode,
            top_k=top_k,
            where=where,
            min_score=min_score,
            namespace=namespace,
            diversity=diversity,
            rerank=rerank,
            pool=pool,
            weights=weights,
            at_least=at_least,
            wait=wait,
        )
        return await self._answered(asked, Stopwatch())

    async def explain(self, query: str, *, timed: bool = False, **options: Unpack[Options]) -> SearchPlan:
        """How a search with these options would be answered now.

        Args:
            timed: also do it, and tell how long each step took.
        """
        asked = request(query, home=self._namespace, **options)
        self._require_reranker(asked)
        plan = await planned(asked, self._vectors, self._embedder, self._reranker, self._legs)
        if not timed:
            return plan
        watch = Stopwatch()
        found = await self._answered(asked, watch)
        return replace(plan, found=len(found), milliseconds=watch.milliseconds)

    async def _answered(self, asked: Request, watch: Stopwatch) -> list[Hit]:
        self._require_reranker(asked)
        candidates = await self._found(asked, watch)
        if asked.rerank and self._reranker is not None:
            with watch.step("reranking"):
                candidates = await reread(
                    self._reranker, asked.query, candidates[: asked.rerank], self._vectors.spec.text_fields
                )
        if asked.min_score is not None:
            candidates = [candidate for candidate in candidates if candidate.score >= asked.min_score]
        if asked.diversity is not None:
            with watch.step("diversity"):
                candidates = await self._varied(candidates[: asked.varied], asked.top_k, asked.diversity)
        with watch.step("hits"):
            return await _read(candidates[: asked.top_k], asked.query)

    async def _found(self, asked: Request, watch: Stopwatch) -> list[Candidate]:
        if asked.mode == "dense":
            return ranked_by_meaning(await self._by_meaning(asked, asked.width, watch))
        if not self._legs.finds_words:
            return await self._found_in_pool(asked, watch)
        if asked.mode == "words":
            return ranked_by_words(await self._by_words(asked, asked.width, watch))
        dense, words = await _together(
            self._by_meaning(asked, asked.pool, watch), self._by_words(asked, asked.pool, watch)
        )
        with watch.step("fusion"):
            return fused(dense, words, asked.weights)

    async def _found_in_pool(self, asked: Request, watch: Stopwatch) -> list[Candidate]:
        """Meaning and words, or words alone, where the index finds by meaning only."""
        dense = await self._by_meaning(asked, asked.pool, watch)
        with watch.step("words"):
            words = await asyncio.to_thread(by_words, asked.query, dense, self._vectors.spec.text_fields)
        if asked.mode == "words":
            return ranked_by_words(words)
        with watch.step("fusion"):
            return fused(dense, words, asked.weights)

    async def _by_meaning(self, asked: Request, count: int, watch: Stopwatch) -> list[Match]:
        with watch.step("embedding"):
            vector = await self._legs.embedded(asked.query)
        with watch.step("dense"):
            return await self._legs.dense(asked, vector, count)

    async def _by_words(self, asked: Request, count: int, watch: Stopwatch) -> list[Match]:
        with watch.step("words"):
            return await self._legs.words(asked, count)

    async def _varied(self, candidates: Sequence[Candidate], count: int, diversity: float) -> list[Candidate]:
        vectors = await self._missing_vectors(candidates)
        with_vectors = [
            (candidate, replace(candidate.match, score=candidate.score, values=values))
            for candidate in candidates
            if (values := candidate.match.values or vectors.get(key(candidate.match))) is not None
        ]
        matches = [match for _, match in with_vectors]
        chosen = await asyncio.to_thread(diversify, matches, count=count, diversity=diversity)
        by_key = {key(match): candidate for candidate, match in with_vectors}
        return [by_key[key(match)] for match in chosen]

    async def _missing_vectors(self, candidates: Sequence[Candidate]) -> dict[Key, Vector]:
        """The vectors of what was found by words alone; what has been deleted since has none."""
        wanted: dict[str, list[str]] = {}
        for candidate in candidates:
            if candidate.match.values is None:
                wanted.setdefault(candidate.match.namespace, []).append(candidate.match.id)
        found: dict[Key, Vector] = {}
        for namespace, ids in wanted.items():
            for item in await self._vectors.fetch(ids, namespace=namespace):
                if item is not None:
                    found[item.id, namespace] = item.values
        return found

    def _require_reranker(self, asked: Request) -> None:
        if asked.rerank and self._reranker is None:
            raise ConfigError(
                "The search is to be reranked, and there is no reranker: set `reranker` in the profile "
                "(`storycore plugins` lists the adapters that have one), or search without rerank.",
                path="reranker",
            )


async def _read(candidates: Sequence[Candidate], query: str) -> list[Hit]:
    """In a thread, for looking for the words of the query takes half a millisecond a hit."""
    return await asyncio.to_thread(hits, candidates, query)


async def _together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Both results; when one fails or the caller gives up, nothing is left running."""
    one, two = asyncio.create_task(first), asyncio.create_task(second)
    try:
        return await asyncio.gather(one, two)
    finally:
        one.cancel()
        two.cancel()
        await asyncio.wait((one, two))
