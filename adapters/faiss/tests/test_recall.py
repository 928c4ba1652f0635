"""Recall: lists are searched as far as it takes, and what is really asked decides how far that is."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from storycore_faiss.centres import Centres, centres_for
from storycore_faiss.codes import Codebook, Coded, Effort
from storycore_faiss.flat import Measure, one_thread
from storycore_faiss.ids import Ids
from storycore_faiss.planner import Costs, Planner
from storycore_faiss.questions import Questions
from storycore_faiss.shelf import Shelf
from storycore_faiss.training import asked_of, found_share, needed_effort, trained
from storycore_faiss.truth import Row
from storycore_faiss.view import View

from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Metric, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness

DIMENSION, COUNT, CLUSTERS, QUESTIONS = 32, 20_000, 150, 6144
Matrix = NDArray[np.float32]


def clustered(count: int, seed: int, spread: float = 0.3) -> Matrix:
    """Vectors around common centres."""
    centres = np.random.default_rng(1).normal(size=(CLUSTERS, DIMENSION))
    chance = np.random.default_rng(seed)
    return (centres[chance.integers(0, CLUSTERS, count)] + spread * chance.normal(size=(count, DIMENSION))).astype("f4")


ROWS = clustered(COUNT, 2)


def view_of(rows: Matrix, metric: Metric) -> View:
    shelf = Shelf(Measure(DIMENSION, metric), Planner(Costs()), "float32", len(rows))
    shelf.add([Row(n, "default", f"i{n}", row.tobytes(), b"{}") for n, row in enumerate(rows)])
    return shelf.view()


def unread(rows: NDArray[np.int64]) -> Matrix:
    raise AssertionError(f"{rows} are in memory")


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_few_lists_hold_the_nearest(metric: Metric) -> None:
    """Of clustered rows a part of the lists is searched, and 99 % of the nearest of new targets are found."""
    view = view_of(ROWS, metric)
    with one_thread():
        coded = trained(view, unread, Costs(entered=20.0), lambda: False)
        assert coded is not None
        targets = view.measure.kept(clustered(200, 3))
        asked = asked_of(view, targets, np.full(200, -1), unread)
        assert (len(coded.centres), coded.effort.probes[0] <= len(coded.centres) // 2) == (centres_for(COUNT), True)
        assert found_share(coded, asked) >= 0.99


def test_what_is_not_found_is_found_with_the_effort_it_needs() -> None:
    """Searched too little a part is missing; with what ``needed_effort()`` says it is not."""
    view = view_of(ROWS, "cosine")
    kept = view.measure.kept(ROWS)
    with one_thread():
        centres, book = Centres.trained(kept, "cosine", 64), Codebook.trained(kept[:4096], "cosine", 2)
        lists = centres.lists_of(kept)
        coded = Coded(book, centres, book.encode(kept), lists, effort=Effort((1, 1), (1, 1)), trained_rows=COUNT)
        asked = asked_of(view, view.measure.kept(clustered(64, 5, spread=0.8)), np.full(64, -1), unread)
        assert found_share(coded, asked) < 0.9
        needed = needed_effort(coded, asked)
        assert needed is not None
        assert found_share(coded.with_effort(coded.effort.at_least(needed)), asked) >= 0.99


def test_an_effort_for_both_is_enough_for_each() -> None:
    """The greater of each number."""
    assert Effort((2, 9), (1, 30)).at_least(Effort((4, 8), (7, 20))) == Effort((4, 9), (7, 30))


def test_lists_grow_with_the_root_of_the_rows() -> None:
    """Few rows have none."""
    assert [centres_for(n) for n in (1000, 16_383, 16_384, 100_000, 1_000_000, 10**9)] == [1, 1, 128, 512, 1024, 4096]


def test_questions_are_noted_now_and_then() -> None:
    """One of 128, until there are enough; after a calm check four times as seldom, after another soon again."""
    questions, target = Questions(), ROWS[0]

    def noted(times: int) -> int:
        return sum(questions.note("a", target) for _ in range(times))

    assert (noted(128 * 31), questions.ready()) == (0, [])
    assert (noted(128), questions.ready(), len(questions.take("a")), questions.ready()) == (1, ["a"], 32, [])
    questions.settle("a", calm=True)
    assert noted(128 * 32) == 0
    questions.take("a")
    questions.settle("a", calm=False)
    assert noted(16 * 32) == 1


async def test_questions_about_a_namespace_that_is_gone_are_forgotten(tmp_path: Path) -> None:
    """Upkeep comes to an end although there is nothing left to check."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": DIMENSION, "codes_from": 1024}, tmp_path)
    target = array("f", ROWS[0].tobytes())
    async with await harness.started(durability="normal", search="codes") as index:
        await index.upsert([VectorItem(f"i{n}", array("f", row.tobytes())) for n, row in enumerate(ROWS[:2000])])
        await index.optimize()
        await index.query([VectorQuery(values=target) for _ in range(128 * 32)])
        await index.delete(all=True)
        await index.optimize()
        assert (await index.query([VectorQuery(values=target)])) == [[]]
        assert "upkeep" not in (await index.stats()).detail


def test_ids_are_what_they_were() -> None:
    """Empty, short and long ones, in calls of any size."""
    ids, given = Ids(), ["a", "", "x" * 512, "b c", "~"]
    for low in range(0, 5, 2):
        ids.extend(given[low : low + 2])
    ids.extend([])
    assert [ids[row] for row in range(5)] == given


async def asked(index: VectorIndex, targets: Matrix, where: object = None) -> list[list[str]]:
    found = []
    for target in targets:
        [matches] = await index.query([VectorQuery(values=array("f", target.tobytes()), where=where)])  # type: ignore[arg-type]  # the public form
        found.append([match.id for match in matches])
    return found


def share_found(found: Sequence[Sequence[str]], targets: Matrix, rows: Matrix) -> float:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best = np.argpartition(-(targets @ unit.T), 10, axis=1)[:, :10].tolist()
    return float(np.mean([len(set(f) & {f"i{n}" for n in b}) / 10 for f, b in zip(found, best, strict=True)]))


async def test_questions_unlike_the_rows_make_searches_go_further(tmp_path: Path) -> None:
    """What lies between the clusters is not always found, until a check has seen that."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": DIMENSION, "search": "codes"}, tmp_path)
    strange = np.random.default_rng(8).normal(size=(QUESTIONS, DIMENSION)).astype("f4")
    async with await harness.started(durability="normal") as index:
        await index.upsert([VectorItem(f"i{n}", array("f", row.tobytes()), {"n": n}) for n, row in enumerate(ROWS)])
        await index.optimize()
        before = share_found(await asked(index, strange[:200]), strange[:200], ROWS)
        assert "recall" not in (await index.health()).facts
        for low in range(0, QUESTIONS, 512):
            queries = [VectorQuery(values=array("f", row.tobytes())) for row in strange[low : low + 512]]
            await index.query(queries)
            await asyncio.sleep(0.02)
        assert float((await index.health()).facts["recall"]) > before
        assert share_found(await asked(index, strange[:200]), strange[:200], ROWS) >= 0.98
        [few] = await asked(index, strange[:1], F.n < 7)
        assert sorted(few) == sorted(f"i{n}" for n in range(7))
