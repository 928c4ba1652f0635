"""The graph: walks find what they should, count what they should, and what is not linked yet is found too."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Metric, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness

DIMENSION, COUNT, TOP = 32, 3000, 10
CHANCE = np.random.default_rng(21)
CENTRES = CHANCE.normal(size=(40, DIMENSION))
ROWS = (CENTRES[np.arange(COUNT) % 40] + 0.5 * CHANCE.normal(size=(COUNT, DIMENSION))).astype(np.float32)
TARGETS = (CENTRES[:20] + 0.5 * CHANCE.normal(size=(20, DIMENSION))).astype(np.float32)


def scores(metric: Metric, target: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, wanted = ROWS.astype(np.float64), target.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(-np.square(rows - wanted).sum(axis=1))
    dots = rows @ wanted
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    return np.asarray(dots / lengths if metric == "cosine" else dots)


@pytest_asyncio.fixture(params=["cosine", "dot", "euclidean"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    """An index whose approximate searches walk a graph."""
    options = {"dimension": DIMENSION, "metric": request.param, "graph_from": 1024, "search": "graph"}
    harness = Harness(PortName.VECTORS, "faiss", options, tmp_path)
    async with await harness.started(durability="normal") as index:
        await index.upsert(
            [VectorItem(f"i{n:04d}", array("f", row.tobytes()), {"n": n % 1000}) for n, row in enumerate(ROWS)]
        )
        await index.optimize()
        yield index


async def test_walks_find_the_nearest(index: VectorIndex) -> None:
    """Unfiltered and with half of the items matching the recall holds; with very few nothing is lost."""
    for below, least in ((1000, 0.98), (500, 0.98), (3, 1.0)):
        hits = []
        for target in TARGETS:
            query = VectorQuery(values=array("f", target.tobytes()), where=F.n < below, top_k=TOP)
            [matches] = await index.query([query])
            chosen = np.flatnonzero(np.arange(COUNT) % 1000 < below)
            best = chosen[np.argsort(-scores(index.spec.metric, target)[chosen])[:TOP]]
            assert len(matches) == min(TOP, len(chosen))
            hits.append(len({m.id for m in matches} & {f"i{row:04d}" for row in best.tolist()}) / len(matches))
        assert np.mean(hits) >= least, below


async def test_what_is_not_linked_yet_is_found(index: VectorIndex) -> None:
    """New items are found beside the graph, and removed ones are not, at once."""
    own = array("f", (10 * TARGETS[0]).tobytes())
    await index.upsert([VectorItem("new", own)])
    assert (await index.stats()).detail["linked_rows"] == COUNT
    assert (await index.explain(VectorQuery(values=own))).way == "graph"
    query = VectorQuery(values=own, top_k=2)
    [[first, second]] = await index.query([query])
    assert first.id == "new"
    await index.delete(ids=[second.id])
    [[again, other]] = await index.query([query])
    assert (again.id, other.id == second.id) == ("new", False)
    await index.optimize()
    [[once_more, _]] = await index.query([query])
    assert (once_more.id, (await index.stats()).detail["linked_rows"]) == ("new", COUNT)
