"""The legs of a search: by meaning and by words, each over all namespaces under the same filter."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.errors import SchemaMismatch
from storycore.ports.embeddings import Embedder
from storycore.ports.vectors import Match, TextQuery, Vector, VectorIndex, VectorQuery
from storycore.search.candidates import best_first
from storycore.search.requests import Request

__all__ = ["Legs"]


class Legs:
    """Asks the index; the answers of several namespaces become one ranking: by score, then id, then namespace.

    Args:
        vectors: an open index.
        embedder: the open embedder that filled it.
    """

    def __init__(self, vectors: VectorIndex, embedder: Embedder) -> None:
        self._vectors = vectors
        self._embedder = embedder

    @property
    def finds_words(self) -> bool:
        """Whether the index itself searches by words."""
        return self._vectors.capabilities.has("vectors.text")

    async def embedded(self, query: str) -> Vector:
        """The query as a vector.

        Raises:
            SchemaMismatch: the index was filled by another model.
        """
        self._require_same_model()
        [vector] = await self._embedder.embed([query], purpose="query")
        return vector

    def dense_queries(self, asked: Request, vector: Vector, count: int) -> list[VectorQuery]:
        """What is asked by meaning, one query for each namespace."""
        return [
            VectorQuery(
                values=vector,
                top_k=count,
                where=asked.where,
                min_score=asked.min_score if asked.is_bounded_by_index else None,
                namespace=namespace,
                include_values=asked.diversity is not None,
                at_least=asked.at_least,
                wait=asked.wait,
            )
            for namespace in asked.namespaces
        ]

    async def dense(self, asked: Request, vector: Vector, count: int) -> list[Match]:
        """The ``count`` nearest in meaning."""
        return _merged(await self._vectors.query(self.dense_queries(asked, vector, count)), count)

    async def words(self, asked: Request, count: int) -> list[Match]:
        """The ``count`` best by words.

        Raises:
            Unsupported: the index does not search by words.
        """
        queries = [
            TextQuery(
                text=asked.query,
                top_k=count,
                where=asked.where,
                namespace=namespace,
                at_least=asked.at_least,
                wait=asked.wait,
            )
            for namespace in asked.namespaces
        ]
        return _merged(await self._vectors.search_text(queries), count)

    def _require_same_model(self) -> None:
        index, model = self._vectors.spec, self._embedder.spec
        if index.dimension != model.dimension or index.embedding not in (None, model.model):
            raise SchemaMismatch(
                f"The index holds vectors of {index.embedding or 'an unnamed model'} with {index.dimension} "
                f"dimensions; the embedder is {model.model} with {model.dimension}. Search with the model that "
                "filled the index, or ingest again into a new index."
            )


def _merged(found: Sequence[Sequence[Match]], count: int) -> list[Match]:
    if len(found) == 1:
        return list(found[0])
    return best_first(match for matches in found for match in matches)[:count]
