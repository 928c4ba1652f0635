"""What every reranker refuses: a blank query, blank texts, text that is not Unicode."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.errors import InvalidArgument
from storycore.layers.checks.arguments import is_unicode, several
from storycore.layers.checks.forward import Forward
from storycore.ports.reranking import Reranker

__all__ = ["CheckedReranker"]


class CheckedReranker(Forward[Reranker]):
    """A reranker whose arguments are checked before any work is done."""

    @property
    def model(self) -> str:
        """Identity of the model."""
        return self.inner.model

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in order.

        Raises:
            InvalidArgument: the query or a text is blank or not valid Unicode (the message names its position), or
                ``texts`` is one thing instead of a sequence of texts.
        """
        _check(query, "The query to rerank for")
        given = several(texts, "The texts to rerank")
        for position, text in enumerate(given):
            _check(text, f"Text {position} to rerank")
        return await self.inner.rerank(query, given)


def _check(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise InvalidArgument(f"{what} is of type {type(text).__name__}; give a str.")
    if not text or text.isspace():
        raise InvalidArgument(f"{what} is blank; leave out texts that say nothing.")
    if not is_unicode(text):
        raise InvalidArgument(f"{what} holds a lone surrogate; decode it with errors='replace'.")
