"""How much of what belongs to an answer a vector index finds, under filters of every selectivity."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import pytest

from storycore.filters import F
from storycore.ports.filters import Filter
from storycore.ports.vectors import Match, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.vector_oracle import Ranking, best, similarity

__all__ = ["VectorRecall"]

K: Final = 10
SHARES: Final = (1.0, 0.5, 0.1, 0.01, 0.001)
_CLUSTERS: Final = 100
_BATCH: Final = 1000
_ROUNDING: Final = 1e-5


class VectorRecall:
    """The part of the VectorIndex suite that counts what is found.

    Args:
        recall: the least share, 0 to 1, of the ten best items that a query finds on average. An index that
            approximates sets what it promises, at least 0.95; ``exact=True`` has to find all in any case.
        recall_size: how many vectors are stored, a multiple of 1000.
        recall_dimension: how long they are.
        recall_queries: how many are asked at each selectivity.
    """

    recall: ClassVar[float] = 1.0
    recall_size: ClassVar[int] = 2000
    recall_dimension: ClassVar[int] = 16
    recall_queries: ClassVar[int] = 12

    @pytest.mark.asyncio
    async def test_filters_of_any_selectivity_find_the_best(self, harness: Harness) -> None:
        """Of clustered vectors the ten best are found under filters that let 100 to 0.1 % through, also far away ones.

        A query never finds fewer than there are, whatever the filter.
        """
        cloud = _Cloud(self.recall_size, self.recall_dimension)
        async with await harness.started(dimension=self.recall_dimension) as store:
            for start in range(0, self.recall_size, _BATCH):
                await store.upsert(cloud.items[start : start + _BATCH])
            shares: dict[str, list[Filter]] = {
                f"{share:.1%}": [F.rank < share * self.recall_size] * self.recall_queries for share in SHARES
            }
            targets = cloud.targets(self.recall_queries)
            shares["far away"] = [F.cluster == cloud.farthest(target) for target in targets]
            found: dict[str, float] = {}
            for name, filters in shares.items():
                found[name] = await _recall(harness, store, cloud, list(zip(targets, filters, strict=True)))
        assert {name: recall for name, recall in found.items() if recall < self.recall} == {}

    def test_a_promised_recall_is_worth_its_name(self) -> None:
        """An index that approximates still promises at least 0.95."""
        assert 0.95 <= self.recall <= 1.0


class _Cloud:
    """Seeded vectors around a hundred centres, each with a random rank and the name of its cluster."""

    def __init__(self, size: int, dimension: int) -> None:
        self._chance = random.Random(11)
        self._centres = [[self._chance.gauss(0, 1) for _ in range(dimension)] for _ in range(_CLUSTERS)]
        ranks = list(range(size))
        self._chance.shuffle(ranks)
        self.items = [self._item(n, rank) for n, rank in enumerate(ranks)]

    def targets(self, count: int) -> list[Any]:
        """Vectors to ask with, each near a centre."""
        return [self._near(self._chance.randrange(_CLUSTERS)) for _ in range(count)]

    def farthest(self, target: Sequence[float]) -> str:
        """The cluster that lies most against the direction of a vector."""
        scores = [similarity("cosine", target, centre) for centre in self._centres]
        return f"c{scores.index(min(scores))}"

    def _item(self, n: int, rank: int) -> VectorItem:
        cluster = n % _CLUSTERS
        return VectorItem(f"i{n:06d}", self._near(cluster), {"rank": rank, "cluster": f"c{cluster}"})

    def _near(self, cluster: int) -> array[float]:
        return array("f", [value + self._chance.gauss(0, 0.4) for value in self._centres[cluster]])


async def _recall(harness: Harness, store: VectorIndex, cloud: _Cloud, asked: Sequence[tuple[Any, Filter]]) -> float:
    """The average share of the best items that queries find; ``exact`` ones are checked to find all."""
    total = 0.0
    for target, where in asked:
        ranking = best(cloud.items, "cosine", target, where)
        query = VectorQuery(values=target, where=where, top_k=K, include_metadata=False)
        [matches] = await store.query([query])
        total += _share(ranking, matches)
        if store.capabilities.has("vectors.exact"):
            [exact] = await store.query([VectorQuery(values=target, where=where, top_k=K, exact=True)])
            assert _share(ranking, exact) == 1.0, "an exact query missed an item"
    harness.count("queries whose recall was measured", len(asked))
    return total / len(asked)


def _share(ranking: Ranking, matches: Sequence[Match]) -> float:
    """How much of the ten best was found; items whose score equals the last one's are as good as it."""
    wanted = min(K, len(ranking))
    assert wanted == len({match.id for match in matches}) == len(matches), "too few results, or one twice"
    exact, least = dict(ranking), ranking[wanted - 1][1] - _ROUNDING
    return sum(exact.get(match.id, float("-inf")) >= least for match in matches) / wanted
