"""Semantic search: embed the query, ask the index, read the matches as hits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from storycore.errors import InvalidArgument, SchemaMismatch
from storycore.filters import as_filter
from storycore.ports.embeddings import Embedder
from storycore.ports.filters import Filter
from storycore.ports.vectors import DEFAULT_NAMESPACE, Match, VectorIndex, VectorQuery
from storycore.search.diversity import diversify
from storycore.search.hits import Hit, hit

__all__ = ["Search"]

_POOL = 5
"""Candidates per result when results are to differ from each other."""
_MOST_CANDIDATES = 200


class Search:
    """Finds passages by meaning.

    Args:
        vectors: an open index, filled by ingestion.
        embedder: the open embedder that filled it.
        namespace: where to look unless a call says otherwise.
    """

    def __init__(self, vectors: VectorIndex, embedder: Embedder, *, namespace: str = DEFAULT_NAMESPACE) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self._namespace = namespace

    async def search(
        self,
        query: str,
        *,
        top_k: int = 5,
        where: Filter | Mapping[str, object] | None = None,
        min_score: float | None = None,
        namespace: str | None = None,
        diversity: float | None = None,
    ) -> list[Hit]:
        """The passages nearest in meaning, best first; an empty list when nothing matches.

        Args:
            query: a question or a few words.
            top_k: how many passages at most, 1 to 10 000.
            where: only passages whose metadata matches; ``F.source_type == "news"`` or the dict form.
            min_score: only passages that score at least this.
            namespace: where to look; ``None`` takes the one given at construction.
            diversity: 0 to 1: how much results should differ from each other rather than be near to the query;
                ``None`` leaves them as the index ranks them.

        Raises:
            InvalidArgument: the query is blank, or an argument is out of range.
            InvalidFilter: ``where`` cannot be read.
            SchemaMismatch: the index was filled by another embedding model.
        """
        if not isinstance(query, str) or not query.strip():
            raise InvalidArgument("The query is blank; say in a few words what to look for.")
        filter_ = as_filter(where)
        self._require_same_model()
        [vector] = await self._embedder.embed([query], purpose="query")
        asked = VectorQuery(
            values=vector,
            top_k=top_k if diversity is None else _pool(top_k),
            where=filter_,
            min_score=min_score,
            namespace=self._namespace if namespace is None else namespace,
            include_values=diversity is not None,
        )
        [matches] = await self._vectors.query([asked])
        return [hit(match, query) for match in await _chosen(matches, top_k, diversity)]

    def _require_same_model(self) -> None:
        index, model = self._vectors.spec, self._embedder.spec
        if index.dimension != model.dimension or index.embedding not in (None, model.model):
            raise SchemaMismatch(
                f"The index holds vectors of {index.embedding or 'an unnamed model'} with {index.dimension} "
                f"dimensions; the embedder is {model.model} with {model.dimension}. Search with the model that "
                "filled the index, or ingest again into a new index."
            )


def _pool(top_k: int) -> int:
    return max(top_k, min(top_k * _POOL, _MOST_CANDIDATES))


async def _chosen(matches: list[Match], top_k: int, diversity: float | None) -> list[Match]:
    if diversity is None:
        return matches
    return await asyncio.to_thread(diversify, matches, count=top_k, diversity=diversity)
