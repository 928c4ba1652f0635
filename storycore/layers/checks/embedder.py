"""What every embedder refuses: blank texts, text that is not Unicode, an unknown purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from storycore.errors import InvalidArgument
from storycore.layers.checks.arguments import is_unicode, several
from storycore.layers.checks.forward import Forward
from storycore.ports.embeddings import Embedder, EmbeddingSpec, Purpose
from storycore.ports.vectors import Vector

__all__ = ["CheckedEmbedder"]

_PURPOSES = get_args(Purpose)


class CheckedEmbedder(Forward[Embedder]):
    """An embedder whose arguments are checked before any work is done."""

    @property
    def spec(self) -> EmbeddingSpec:
        """The model."""
        return self.inner.spec

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order.

        Raises:
            InvalidArgument: a text is blank or not valid Unicode (the message names its position), ``texts`` is one
                thing instead of a sequence of texts, or the purpose is unknown.
        """
        if purpose not in _PURPOSES:
            raise InvalidArgument(f"The purpose of an embedding is one of {', '.join(_PURPOSES)}, not {purpose!r}.")
        given = several(texts, "The texts to embed")
        for position, text in enumerate(given):
            _check_text(text, position)
        return await self.inner.embed(given, purpose=purpose)


def _check_text(text: object, position: int) -> None:
    if not isinstance(text, str):
        raise InvalidArgument(f"Text {position} to embed is of type {type(text).__name__}; give a str.")
    if not text or text.isspace():
        raise InvalidArgument(f"Text {position} to embed is blank; leave out texts that say nothing.")
    if not is_unicode(text):
        raise InvalidArgument(f"Text {position} to embed holds a lone surrogate; decode it with errors='replace'.")
