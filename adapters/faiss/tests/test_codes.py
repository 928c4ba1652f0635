"""Codes: searches over many rows find what an exact pass finds, and never fewer than they should."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from storycore_faiss.centres import Centres
from storycore_faiss.codes import Codebook, Coded, Effort
from storycore_faiss.flat import Measure, use_one_thread

from storycore.filters import F
from storycore.ports.filters import Filter
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Metric, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness

DIMENSION, COUNT, CLUSTERS, QUERIES, TOP = 64, 6_000, 60, 40, 10
Matrix = NDArray[np.float32]


def clustered(count: int, seed: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Unit vectors around common centres, and the centre of each."""
    centres = np.random.default_rng(1).normal(size=(CLUSTERS, DIMENSION))
    chance = np.random.default_rng(seed)
    cluster = chance.integers(0, CLUSTERS, count)
    near = centres[cluster] + 0.4 * chance.normal(size=(count, DIMENSION))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32), cluster


ROWS, CLUSTER = clustered(COUNT, 2)
TARGETS, TARGET_CLUSTER = clustered(QUERIES, 3)
SHARE = np.random.default_rng(4).permutation(COUNT) * 1000 // COUNT


def item(row: int) -> VectorItem:
    """``share`` is spread evenly over 0 to 999; ``cluster`` says near which centre the vector is."""
    metadata = {"share": int(SHARE[row]), "cluster": int(CLUSTER[row])}
    return VectorItem(f"i{row:05d}", array("f", ROWS[row].tobytes()), metadata)


def items() -> list[VectorItem]:
    return [item(row) for row in range(COUNT)]


def best(target: Matrix, chosen: NDArray[np.bool_]) -> set[str]:
    """The ids of the nearest rows, by a full pass."""
    rows = np.flatnonzero(chosen)
    scores = ROWS[rows].astype(np.float64) @ target.astype(np.float64)
    return {f"i{row:05d}" for row in rows[np.argsort(-scores)[:TOP]].tolist()}


async def searched(index: VectorIndex, where: Filter | None, targets: Sequence[int] = range(QUERIES)) -> list[set[str]]:
    queries = [VectorQuery(values=array("f", TARGETS[n].tobytes()), where=where, top_k=TOP) for n in targets]
    return [{match.id for match in matches} for matches in await index.query(queries)]


async def recall(index: VectorIndex, where: Filter | None, chosen: NDArray[np.bool_]) -> float:
    """The share of the nearest that is found; every answer has as many as there are, up to ten."""
    answers = await searched(index, where)
    assert {len(answer) for answer in answers} == {min(TOP, int(chosen.sum()))}
    hits = [len(answer & best(TARGETS[n], chosen)) / len(answer) for n, answer in enumerate(answers)]
    return float(np.mean(hits))


def made(tmp_path: Path, **options: object) -> Harness:
    return Harness(PortName.VECTORS, "faiss", {"dimension": DIMENSION, "codes_from": 1024, **options}, tmp_path)


@pytest_asyncio.fixture
async def index(tmp_path: Path) -> AsyncIterator[VectorIndex]:
    """An index in which every namespace has codes, and every approximate search uses them."""
    async with await made(tmp_path, search="codes").started(durability="normal") as index:
        await index.upsert(items())
        await index.optimize()
        yield index


async def test_recall_holds_at_every_share(index: VectorIndex) -> None:
    """Unfiltered and with half, a tenth, a hundredth and a thousandth of the items matching."""
    assert (await index.explain(VectorQuery(values=array("f", TARGETS[0].tobytes())))).way == "codes"
    assert await recall(index, None, np.ones(COUNT, bool)) >= 0.99
    for below, least in ((500, 0.99), (100, 0.99), (10, 1.0), (1, 1.0)):
        assert await recall(index, F.share < below, below > SHARE) >= least, below


async def test_filters_far_from_the_query_lose_nothing(index: VectorIndex) -> None:
    """Where only items of other clusters match, the nearest of those are found, all of them."""
    for number, own in enumerate(TARGET_CLUSTER.tolist()):
        for other in ((own + 7) % CLUSTERS, (own + 31) % CLUSTERS):
            [answer] = await searched(index, F.cluster == other, [number])
            assert answer == best(TARGETS[number], other == CLUSTER)


async def test_rows_without_codes_yet_are_searched_too(index: VectorIndex) -> None:
    """What was written a moment ago is found, and what was removed or replaced is not."""
    own = array("f", TARGETS[0].tobytes())
    await index.upsert([VectorItem("new", own, {"share": 5})])
    query = VectorQuery(values=own, top_k=3)
    [[first, second, _]] = await index.query([query])
    assert first.id == "new"
    await index.delete(ids=[second.id])
    await index.update("new", set={"share": 6})
    [[again, other, _]] = await index.query([query])
    assert (again.id, again.metadata, other.id == second.id) == ("new", {"share": 6}, False)
    assert await searched(index, F.share == 6, [0]) != []


async def test_an_exact_query_is_exact_and_orders_ties_by_id(index: VectorIndex) -> None:
    """``exact=True`` is never answered by codes, also among many equal vectors."""
    same = array("f", TARGETS[1].tobytes())
    await index.upsert([VectorItem(f"t{n:03d}", same) for n in range(300)])
    await index.optimize()
    query = VectorQuery(values=same, top_k=20, exact=True)
    plan = await index.explain(query)
    [matches] = await index.query([query])
    assert (plan.approximate, [match.id for match in matches]) == (False, [f"t{n:03d}" for n in range(20)])


def test_codes_are_the_same_whatever_else_goes_on() -> None:
    """Several threads that make codes at the same time make those that one alone makes."""
    with ThreadPoolExecutor(4, initializer=use_one_thread) as threads:
        book = threads.submit(Codebook.trained, ROWS, "cosine", 4).result()
        alone = threads.submit(book.encode, ROWS).result()
        made = [threads.submit(book.encode, ROWS[low : low + 300]) for low in range(0, COUNT, 300)] * 2
        trained = [threads.submit(Codebook.trained, ROWS, "cosine", 2) for _ in range(4)]
        parts = [part.result() for part in made]
        assert len({book.result().centroids.tobytes() for book in trained}) == 1
    assert np.array_equal(np.concatenate(parts[: len(parts) // 2]), alone)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dimension", [16, 33, 100, 256])
def test_codes_of_any_dimension_find_the_nearest(metric: Metric, dimension: int) -> None:
    """Also where the dimension is no multiple of anything: zeros fill up what is missing."""
    chance = np.random.default_rng(dimension)
    rows = chance.normal(size=(3000, dimension)).astype(np.float32)
    measure = Measure(dimension, metric)
    kept = measure.kept(rows)
    with ThreadPoolExecutor(1, initializer=use_one_thread) as alone:
        book = alone.submit(Codebook.trained, kept, metric, 2).result()
    target = measure.target(rows[5] + np.float32(0.1))
    best = set(np.argsort(-measure.scores(target, kept))[:10].tolist())
    for centres in (Centres.none(dimension, metric), Centres.trained(kept, metric, 30)):
        lists, effort = centres.lists_of(kept), Effort((1, 1), (1, 1))
        coded = Coded(book, centres, book.encode(kept[:1000]), lists[:1000], effort=effort, trained_rows=3000)
        coded = coded.extended(book.encode(kept[1000:]), lists[1000:])
        assert best <= set(coded.nearest(target.reshape(1, -1), 600, len(centres))[0].tolist())
        assert len(coded) == 3000
        here = coded.nearest(target.reshape(1, -1), 3000, 1)[0]
        assert set(here[here >= 0].tolist()) == set(np.flatnonzero(lists == centres.nearest(target[None], 1)).tolist())


async def test_vectors_that_no_code_fits_are_searched_exactly(tmp_path: Path) -> None:
    """Where a sample's recall stays low, as among points with no shape at all, answers stay exact."""
    chance = np.random.default_rng(9)
    rows = chance.normal(size=(2000, 768)).astype(np.float32)
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 768, "codes_from": 1024}, tmp_path)
    async with await harness.started(durability="normal") as index:
        await index.upsert([VectorItem(f"i{n}", array("f", row.tobytes())) for n, row in enumerate(rows)])
        await index.optimize()
        target = chance.normal(size=768).astype(np.float32)
        scores = rows @ target / np.linalg.norm(rows, axis=1)
        [matches] = await index.query([VectorQuery(values=array("f", target.tobytes()), top_k=5)])
        assert [match.id for match in matches] == [f"i{n}" for n in np.argsort(-scores)[:5].tolist()]


async def test_codes_come_by_themselves(tmp_path: Path) -> None:
    """After enough writes they are made aside, while searches go on; closing waits for nothing long."""
    async with await made(tmp_path).started(durability="normal") as index:
        await index.upsert(items())
        await searched(index, None, [0])
        for _ in range(400):
            if (await index.stats()).detail["coded_rows"] == COUNT:
                break
            await asyncio.sleep(0.02)
        assert (await index.stats()).detail["coded_rows"] == COUNT
        assert await recall(index, None, np.ones(COUNT, bool)) >= 0.99


@pytest.mark.parametrize("options", [{"storage": "bfloat16"}, {"vectors": "disk"}], ids=["bfloat16", "disk"])
async def test_other_storage_gives_the_same_answers(options: dict[str, object], tmp_path: Path) -> None:
    """Halved or left on disk, exact answers are the very same, scores included; approximate ones keep the recall."""
    async with await made(tmp_path, search="codes", **options).started(durability="normal") as index:
        await index.upsert(items())
        exact = [VectorQuery(values=array("f", target.tobytes()), exact=True) for target in TARGETS[:4]]
        before = await index.query(exact)
        await index.optimize()
        assert [{m.id for m in matches} for matches in before] == [best(t, np.ones(COUNT, bool)) for t in TARGETS[:4]]
        assert await index.query(exact) == before
        for matches, target in zip(before, TARGETS, strict=False):
            for match in matches:
                score = float(ROWS[int(match.id[1:])].astype(np.float64) @ target.astype(np.float64))
                assert match.score == pytest.approx(score, abs=1e-6)
        assert await recall(index, None, np.ones(COUNT, bool)) >= 0.99
        assert await recall(index, F.share < 100, SHARE < 100) >= 0.99
