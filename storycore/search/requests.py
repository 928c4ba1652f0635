"""What a search asks: the arguments of a call, checked before any I/O, with what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from storycore.errors import InvalidArgument
from storycore.filters import as_filter
from storycore.layers.checks.arguments import is_unicode, several
from storycore.layers.checks.vector_values import as_namespace
from storycore.ports.filters import Filter
from storycore.ports.vectors import WriteToken

__all__ = ["DEFAULT_MODE", "Mode", "Options", "Request", "request"]

Mode: TypeAlias = Literal["dense", "words", "hybrid"]
"""By meaning, by words, or by both."""

DEFAULT_MODE: Mode = "hybrid"
"""What is taken when nobody says; the decision on search tells what was measured."""

_MOST = 10_000
"""Candidates of one leg at most: the port's own limit."""
_RERANKED = 50
"""Candidates that ``rerank=True`` has read again."""
_VARIED = 5
"""Candidates per result when results are to differ from each other."""
_MOST_VARIED = 200
"""Candidates of which each is compared with each: a third of a second's work."""


class Options(TypedDict, total=False):
    """The options of a search, as ``Search.__call__`` describes them."""

    mode: Mode | None
    top_k: int
    where: Filter | Mapping[str, object] | None
    min_score: float | None
    namespace: str | Sequence[str] | None
    diversity: float | None
    rerank: bool | int
    pool: int
    weights: tuple[float, float]
    at_least: WriteToken | None
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One search, its arguments checked.

    Args:
        rerank: how many candidates a reranker reads; 0 for none.
        varied: how many candidates diversity chooses from; 0 without diversity.
        width: how many candidates the legs together must give: the results, and what reranking and diversity need.
        pool: how many candidates each of several legs brings, never fewer than ``width``.
    """

    query: str
    mode: Mode
    top_k: int
    where: Filter | None
    min_score: float | None
    namespaces: tuple[str, ...]
    diversity: float | None
    rerank: int
    varied: int
    width: int
    pool: int
    weights: tuple[float, float]
    at_least: WriteToken | None
    wait: float

    @property
    def is_bounded_by_index(self) -> bool:
        """Whether ``min_score`` is about the index's own score of nearness."""
        return self.mode == "dense" and not self.rerank


def request(
    query: str,
    *,
    home: str,
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
) -> Request:
    """Check the arguments of a search.

    Args:
        home: the namespace that is searched when the call names none.

    Raises:
        InvalidArgument: the query is blank or not valid Unicode, or an argument is out of range.
        InvalidFilter: ``where`` cannot be read.
    """
    _check_query(query)
    least = None if min_score is None else _number(min_score, "min_score")
    reread = _reread(rerank, _count(top_k, "top_k"))
    if diversity is not None and top_k > _MOST_VARIED:
        raise InvalidArgument(f"diversity chooses among at most {_MOST_VARIED} candidates; lower top_k, {top_k}.")
    varied = 0 if diversity is None else min(top_k * _VARIED, _MOST_VARIED)
    width = max(top_k, reread, varied)
    return Request(
        query=query,
        mode=_mode(mode, bounded=least is not None and not reread),
        top_k=top_k,
        where=as_filter(where),
        min_score=least,
        namespaces=(home,) if namespace is None else _namespaces(namespace),
        diversity=_share(diversity),
        rerank=reread,
        varied=varied,
        width=width,
        pool=max(_count(pool, "pool"), width),
        weights=_weights(weights),
        at_least=at_least,
        wait=wait,
    )


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InvalidArgument(f"The query is a text, not a {type(query).__name__}.")
    if not query.strip():
        raise InvalidArgument("The query is blank; say in a few words what to look for.")
    if not is_unicode(query):
        raise InvalidArgument("The query holds a lone surrogate; decode it with errors='replace'.")


def _mode(mode: Mode | None, *, bounded: bool) -> Mode:
    if mode is None:
        return "dense" if bounded else DEFAULT_MODE
    if mode not in get_args(Mode):
        raise InvalidArgument(f"The mode of a search is one of {', '.join(get_args(Mode))}, not {mode!r}.")
    if mode == "hybrid" and bounded:
        raise InvalidArgument(
            "min_score cannot bound a hybrid search: its score tells the order of the hits, not how good they are. "
            "Search with mode='dense' or mode='words', or have the hits reranked."
        )
    return mode


def _namespaces(given: str | Sequence[str]) -> tuple[str, ...]:
    """By their one name each, so that none is asked twice."""
    names = (given,) if isinstance(given, str) else several(given, "Namespaces")
    if not names:
        raise InvalidArgument("namespace is an empty list; name at least one, or leave it out.")
    return tuple(dict.fromkeys(map(as_namespace, names)))


def _reread(rerank: bool | int, top_k: int) -> int:
    if isinstance(rerank, bool):
        return max(_RERANKED, top_k) if rerank else 0
    if not isinstance(rerank, int) or not 0 <= rerank <= _MOST:
        raise InvalidArgument(f"rerank is True, or how many candidates to read again, 0 to {_MOST}, not {rerank!r}.")
    return max(rerank, top_k) if rerank else 0


def _count(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise InvalidArgument(f"{name} is a whole number from 1 to {_MOST}, not {value!r}.")
    return value


def _number(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidArgument(f"{name} is a finite number, not {value!r}.")
    return float(value)


def _share(diversity: float | None) -> float | None:
    if diversity is None:
        return None
    if not 0 <= _number(diversity, "diversity") <= 1:
        raise InvalidArgument(f"diversity is a number from 0 to 1, not {diversity!r}.")
    return float(diversity)


def _weights(given: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(given, Sequence) or len(given) != 2:
        raise InvalidArgument("weights are two numbers: one for meaning, one for words.")
    dense, words = (_number(weight, "a weight") for weight in given)
    if dense < 0 or words < 0 or dense + words == 0:
        raise InvalidArgument(f"weights are not negative, and one of them is more than 0, not {given!r}.")
    return dense, words
