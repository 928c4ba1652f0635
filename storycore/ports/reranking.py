"""The Reranker port: how well texts answer a query, read together with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storycore.ports.lifecycle import Port

__all__ = ["Reranker"]


class Reranker(Port, Protocol):
    """Scores texts against a query.

    Promised by every adapter: one finite score per text, in the order of the texts, higher is better; the same query
    and text have the same score (to 1e-4), alone or among any others. Scores of different models do not compare.
    The limit ``reranker.batch`` says how many texts a request of the service takes.
    """

    @property
    def model(self) -> str:
        """Identity of the model. Never raises and does no I/O."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text; an empty sequence gives an empty list. Never blocks the event loop.

        Args:
            query: not blank.
            texts: none blank; any number, and what is behind the model's limit of a text is not seen.

        Raises:
            InvalidArgument: the query or a text is blank.
        """
        ...
