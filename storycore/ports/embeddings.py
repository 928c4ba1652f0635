"""The Embedder port: texts to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from storycore.ports.lifecycle import Port
from storycore.ports.vectors import Vector

__all__ = ["Embedder", "EmbeddingSpec", "Purpose"]

Purpose: TypeAlias = Literal["document", "query"]


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """The model behind an embedder.

    Args:
        model: identity of the model, its revision and pooling: vectors of different identities are never compared.
        dimension: length of its vectors.
        max_tokens: what is behind this many tokens of a text is not seen by the model.
        semantic: whether near meaning gives near vectors; ``False`` for hashes, which only suit tests.
    """

    model: str
    dimension: int
    max_tokens: int
    semantic: bool = True


class Embedder(Port, Protocol):
    """Texts to unit-length float32 vectors.

    Promised by every adapter: the same text, purpose and model give the same vector (to 1e-5), alone or in any batch;
    an empty or blank text is an ``InvalidArgument``; order is kept; any number of texts.

    An adapter whose service takes only so many texts in a request says so by the limit ``embedder.batch``, and how many
    requests it can have under way by ``embedder.calls``. Calls of any size are right all the same; who keeps to the
    limit has one request for a call, which he can pace and repeat.
    """

    @property
    def spec(self) -> EmbeddingSpec:
        """The model. Never raises and does no I/O."""
        ...

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        """One vector per text, in order; an empty sequence gives an empty list. Never blocks the event loop."""
        ...
