"""The plan of a search: which legs ask what of the index, how their answers become one, and who reads them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import orjson

from storycore.filters import to_dict
from storycore.ports.embeddings import Embedder
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import VectorIndex
from storycore.search.fusion import CONSTANT
from storycore.search.legs import Legs
from storycore.search.requests import Mode, Request

__all__ = ["LegPlan", "SearchPlan", "planned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPlan:
    """One leg in one namespace.

    Args:
        leg: ``"dense"`` or ``"words"``.
        way: how the index would answer, see ``QueryPlan``; ``""`` where it does not tell.
        count: how many candidates are asked for.
        approximate: whether it may miss some; ``None``: not known.
        candidates: how many items match namespace and filter, where that is known.
        total: how many items the namespace holds, where that is known.
        detail: what else the index tells.
    """

    leg: str
    namespace: str
    way: str
    count: int
    approximate: bool | None = None
    candidates: int | None = None
    total: int | None = None
    detail: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How a search would be answered; ``str(plan)`` is for people.

    Args:
        model: the embedding model; ``None``: nothing is embedded.
        where: the filter in its dict form; ``None``: there is none. It holds for every leg.
        fusion: how two legs become one ranking; ``None``: there is one leg.
        reranker: the model that reads candidates again; ``None``: none does.
        reranked: how many candidates it reads.
        found: how many hits there were, when the search was done.
        milliseconds: wall time by step, when the search was done; steps of two legs overlap.
        notes: what is worth knowing, one sentence each.
    """

    query: str
    mode: Mode
    top_k: int
    namespaces: tuple[str, ...]
    model: str | None
    where: Mapping[str, object] | None
    min_score: float | None
    legs: tuple[LegPlan, ...]
    fusion: str | None = None
    diversity: float | None = None
    reranker: str | None = None
    reranked: int = 0
    found: int | None = None
    milliseconds: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The plan as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts())

    def facts(self) -> Iterator[tuple[str, str]]:
        """What there is to tell, as names and values, in the order in which things happen."""
        yield "query", self.query
        yield "mode", self.mode
        if self.model is not None:
            yield "model", self.model
        if self.where is not None:
            yield "filter", orjson.dumps(self.where).decode()
        for leg in self.legs:
            yield f"{leg.leg} in {leg.namespace}", _told(leg)
        if self.fusion is not None:
            yield "fusion", self.fusion
        if self.reranker is not None:
            yield "reranking", f"the best {self.reranked} by {self.reranker}"
        if self.min_score is not None:
            yield "least score", f"{self.min_score:g}"
        if self.diversity is not None:
            yield "diversity", f"{self.diversity:g}"
        yield "results", f"at most {self.top_k}" if self.found is None else f"{self.found} of at most {self.top_k}"
        for step, spent in (self.milliseconds or {}).items():
            yield f"time of {step}", f"{spent:.1f} ms"
        for note in self.notes:
            yield "note", note


async def planned(
    asked: Request, vectors: VectorIndex, embedder: Embedder, reranker: Reranker | None, legs: Legs
) -> SearchPlan:
    """The plan of a search; embeds the query where the index can tell what it would do with it."""
    by_meaning = asked.mode != "words" or not legs.finds_words
    found = await _dense(asked, vectors, legs) if by_meaning else ()
    if asked.mode != "dense":
        found += _words(asked, legs)
    return SearchPlan(
        query=asked.query,
        mode=asked.mode,
        top_k=asked.top_k,
        namespaces=asked.namespaces,
        model=embedder.spec.model if by_meaning else None,
        where=None if asked.where is None else to_dict(asked.where),
        min_score=asked.min_score,
        legs=found,
        fusion=_fusion(asked) if asked.mode == "hybrid" else None,
        diversity=asked.diversity,
        reranker=reranker.model if asked.rerank and reranker is not None else None,
        reranked=asked.rerank,
        notes=tuple(_notes(asked, embedder, legs)),
    )


async def _dense(asked: Request, vectors: VectorIndex, legs: Legs) -> tuple[LegPlan, ...]:
    count = asked.width if asked.mode == "dense" else asked.pool
    if not vectors.capabilities.has("vectors.explain"):
        return tuple(LegPlan(leg="dense", namespace=name, way="", count=count) for name in asked.namespaces)
    queries = legs.dense_queries(asked, await legs.embedded(asked.query), count)
    plans = [(query.namespace, await vectors.explain(replace(query, at_least=None))) for query in queries]
    return tuple(
        LegPlan(
            leg="dense",
            namespace=name,
            way=plan.way,
            count=count,
            approximate=plan.approximate,
            candidates=plan.candidates,
            total=plan.total,
            detail=dict(plan.detail),
        )
        for name, plan in plans
    )


def _words(asked: Request, legs: Legs) -> tuple[LegPlan, ...]:
    count = asked.width if asked.mode == "words" else asked.pool
    if not legs.finds_words:
        return (LegPlan(leg="words", namespace=", ".join(asked.namespaces), way="pool", count=count, approximate=True),)
    return tuple(
        LegPlan(leg="words", namespace=name, way="bm25", count=count, approximate=False) for name in asked.namespaces
    )


def _fusion(asked: Request) -> str:
    dense, words = asked.weights
    return f"reciprocal ranks, {dense:g} / ({CONSTANT} + rank by meaning) + {words:g} / ({CONSTANT} + rank by words)"


def _notes(asked: Request, embedder: Embedder, legs: Legs) -> Iterator[str]:
    if asked.mode != "dense" and not legs.finds_words:
        yield (
            "The index does not search by words; the candidates by meaning are ranked by their own words, and a "
            "passage that is not among them is not found by its words."
        )
    if asked.mode != "words" and not embedder.spec.semantic:
        yield f"The embedder {embedder.spec.model} knows no meaning; its vectors compare words."


def _told(leg: LegPlan) -> str:
    parts = [leg.way or "the index does not tell how", f"{leg.count} candidates"]
    if leg.approximate is not None:
        parts.append("approximate" if leg.approximate else "exact")
    if leg.candidates is not None:
        parts.append(f"{leg.candidates} items match" + ("" if leg.total is None else f" of {leg.total}"))
    parts += [f"{name} {value}" for name, value in leg.detail.items()]
    return ", ".join(parts)
