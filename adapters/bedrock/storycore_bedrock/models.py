"""The embedding models: what each takes and gives, as bodies of InvokeModel."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from storycore.errors import Unavailable
from storycore.ports.embeddings import Purpose
from storycore.ports.vectors import Vector

__all__ = ["DEFAULT_MODEL", "Model", "beginning", "named_model", "shorter_lengths", "vectors_of"]

DEFAULT_MODEL = "amazon.titan-embed-text-v2:0"

_Body = Mapping[str, object]


class _Tongue(Protocol):
    """How a family of models is spoken to."""

    def request(self, texts: Sequence[str], purpose: Purpose, dimension: int) -> _Body:
        """The body of a request."""
        ...

    def vectors(self, answer: _Body) -> object:
        """Where the vectors lie in the body of an answer; raises ``KeyError`` where they do not."""
        ...


class _Titan:
    """Amazon Titan Text Embeddings V2: one text a request, both purposes alike."""

    def request(self, texts: Sequence[str], purpose: Purpose, dimension: int) -> _Body:
        """The body of a request."""
        return {"inputText": texts[0], "dimensions": dimension, "normalize": True}

    def vectors(self, answer: _Body) -> object:
        """The one vector."""
        return [answer["embedding"]]


_INPUT_TYPES: Mapping[Purpose, str] = {"document": "search_document", "query": "search_query"}


class _Cohere:
    """Cohere Embed v3: many texts a request, which the model cuts by itself."""

    def request(self, texts: Sequence[str], purpose: Purpose, dimension: int) -> _Body:
        """The body of a request."""
        return {"texts": list(texts), "input_type": _INPUT_TYPES[purpose], "truncate": "END"}

    def vectors(self, answer: _Body) -> object:
        """One vector per text."""
        return answer["embeddings"]


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model.

    Args:
        name: its identifier.
        dimensions: lengths of vectors that it can give, the longest first.
        max_tokens: what it sees of a text.
        max_characters: what it takes of a text.
        batch: texts that a request takes.
        tongue: its bodies.
    """

    name: str
    dimensions: tuple[int, ...]
    max_tokens: int
    max_characters: int
    batch: int
    tongue: Literal["titan", "cohere"]

    def request(self, texts: Sequence[str], purpose: Purpose, dimension: int) -> _Body:
        """The body of a request for at most ``batch`` texts, each cut to what the model takes."""
        return _TONGUES[self.tongue].request(
            [beginning(text, self.max_characters) for text in texts], purpose, dimension
        )

    def vectors(self, answer: object, *, count: int, dimension: int) -> list[Vector]:
        """The vectors in the body of an answer.

        Raises:
            Unavailable: it does not hold ``count`` vectors of that dimension.
        """
        try:
            return vectors_of(_TONGUES[self.tongue].vectors(_mapping(answer)), count=count, dimension=dimension)
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise Unavailable(
                f"{self.name} answered with something else than {count} vectors of dimension {dimension}; try again, "
                "and look at endpoint_url."
            ) from exc


_TONGUES: Mapping[str, _Tongue] = {"titan": _Titan(), "cohere": _Cohere()}

_MODELS = (
    # Amazon Bedrock User Guide, "Amazon Titan Text Embeddings models": 8,192 tokens or 50,000 characters, not empty.
    Model(DEFAULT_MODEL, (1024, 512, 256), 8192, 50_000, 1, "titan"),
    # Amazon Bedrock User Guide, "Cohere Embed v3": 96 texts a call, 2,048 characters each, best below 512 tokens.
    Model("cohere.embed-english-v3", (1024,), 512, 2048, 96, "cohere"),
    Model("cohere.embed-multilingual-v3", (1024,), 512, 2048, 96, "cohere"),
)


def named_model(model: str) -> Model:
    """The model that an identifier or ARN names.

    Raises:
        ValueError: no known model is named in it.
    """
    for known in _MODELS:
        if known.name in model:
            return known
    names = ", ".join(known.name for known in _MODELS)
    raise ValueError(f"model names none of {names}")


def beginning(text: str, most: int) -> str:
    """The first characters of a text, ``most`` of them as the service counts: those beyond U+FFFF as two."""
    if 2 * len(text) <= most or (text.isascii() and len(text) <= most):
        return text
    return text[:most].encode("utf-16-le")[: 2 * most].decode("utf-16-le", errors="ignore")


def shorter_lengths(length: int) -> list[int]:
    """The lengths to which a text of too many tokens is cut, one after the other, until the model takes it.

    They are the same for all texts, so that what is seen of a text depends on its beginning alone. The first, 37,500
    characters, holds 8,192 tokens of average English (Amazon Bedrock User Guide: 4.7 characters a token).
    """
    ladder = [50_000 * 3**step // 4**step for step in range(1, 24)]
    return [rung for rung in ladder if rung < length]


def vectors_of(found: object, *, count: int, dimension: int) -> list[Vector]:
    """Lists of numbers as float32 vectors of length 1.

    Raises:
        TypeError, ValueError: they are not ``count`` lists of ``dimension`` finite numbers other than zero.
    """
    if not isinstance(found, list) or len(found) != count:
        raise ValueError("not as many vectors as texts")
    return [_unit(row, dimension) for row in found]


def _unit(row: object, dimension: int) -> Vector:
    if not isinstance(row, list) or len(row) != dimension:
        raise ValueError("not a vector of this dimension")
    length = math.sqrt(math.fsum(value * value for value in row))
    if not 0.0 < length < math.inf:
        raise ValueError("a vector without direction")
    return array("f", [value / length for value in row])


def _mapping(answer: object) -> _Body:
    if not isinstance(answer, dict):
        raise TypeError("not a JSON object")
    return answer
