"""Every way to an answer gives the exact answer: planner, first pass, postings."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap
from storycore_faiss.flat import Measure, Piece
from storycore_faiss.planner import Way
from storycore_faiss.postings import NumberColumn, Postings

from storycore.errors import InvalidArgument
from storycore.filters import F
from storycore.memory.vectors import score
from storycore.ports.filters import Compare, Filter, Not, evaluate
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Metric, VectorItem, VectorQuery
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import MIXED, random_filter

DIMENSION = 24
METRICS = get_args(Metric)


def _items(count: int, seed: int) -> list[VectorItem]:
    chance = random.Random(seed)
    return [
        VectorItem(
            f"i{n:05d}", array("f", [chance.gauss(0, 1) for _ in range(DIMENSION)]), {"n": n, "third": n % 3 == 0}
        )
        for n in range(count)
    ]


def _best(items: list[VectorItem], metric: Metric, target: Any, where: Filter | None) -> list[tuple[str, float]]:
    scored = [(i.id, score(metric, target, i.values)) for i in items if where is None or evaluate(where, i.metadata)]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("metric", METRICS)
async def test_every_way_gives_the_exact_answer(metric: Metric, tmp_path: Path) -> None:
    """Direct, listed and whole searches give the same ids as a full pass in double precision."""
    items = _items(900, seed=1)
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": DIMENSION, "metric": metric}, tmp_path)
    ways = {None: Way.WHOLE, F.third.contains(True): Way.LISTED, F.n < 50: Way.DIRECT, F.n < 0: Way.EMPTY}
    async with await harness.started() as index:
        await index.upsert(items)
        target = _items(1, seed=2)[0].values
        for where, way in ways.items():
            query = VectorQuery(values=target, where=where, top_k=20)
            assert (await index.explain(query)).way == way
            [matches] = await index.query([query])
            exact = _best(items, metric, target, where)[:20]
            assert [match.id for match in matches] == [id_ for id_, _ in exact]
            assert [match.score for match in matches] == pytest.approx([s for _, s in exact], abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_the_bound_of_the_first_pass_holds(metric: Metric) -> None:
    """No row that the first pass leaves out scores above its bound, also far from nought and close together."""
    generator = np.random.default_rng(3)
    for offset, spread in ((0, 1), (1000, 1e-3), (1, 1e-6)):
        rows = (offset + spread * generator.normal(size=(2000, DIMENSION))).astype(np.float32)
        measure = Measure(DIMENSION, metric)
        kept, target = measure.kept(rows), measure.target(rows[7] + np.float32(spread))
        found, rough = measure.nearest(target.reshape(1, -1), 40, [Piece(kept, 0)])
        left_out = np.delete(measure.scores(target, kept), found)
        assert left_out.max() <= float(rough[0, -1]) + measure.slack(measure.length(target), measure.longest(kept), 0.0)


async def test_a_score_that_overflows_single_precision_is_still_exact(tmp_path: Path) -> None:
    """Vectors whose inner products leave float32 are ranked, where FAISS alone would answer infinity or NaN."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 2, "metric": "dot"}, tmp_path)
    async with await harness.started() as index:
        await index.upsert([VectorItem(f"i{n:03d}", array("f", [1e30 * (n + 1), -1e30])) for n in range(400)])
        [matches] = await index.query([VectorQuery(values=array("f", [3e30, 1e30]), top_k=3)])
        assert [match.id for match in matches] == ["i399", "i398", "i397"]
        assert matches[0].score == pytest.approx(3e30 * 4e32 - 1e60, rel=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        np.arange(1, 5, dtype=np.float32),
        np.arange(1, 5, dtype=np.float64),
        np.arange(1, 5),
        np.arange(1, 9, dtype=np.float32)[:4],
        np.repeat(np.arange(1, 5, dtype=np.float32), 2)[::2],
        list(np.arange(1, 5, dtype=np.float32)),
    ],
    ids=["float32", "float64", "int64", "a slice", "every second", "a list of scalars"],
)
async def test_arrays_of_numpy_are_vectors(given: Any, tmp_path: Path) -> None:
    """A one-dimensional array of any number type is kept as float32, and nobody shares its memory."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)
    async with await harness.started() as index:
        await index.upsert([VectorItem("a", given)])
        given[0] = 9
        [stored] = await index.fetch(["a"])
        assert stored.values == array("f", [1, 2, 3, 4])


@pytest.mark.parametrize("given", [np.ones((1, 4)), np.ones(4) == 1, np.array(["1"] * 4), np.ones(4, complex)])
async def test_other_arrays_are_refused(given: Any, tmp_path: Path) -> None:
    """Matrices, truth values, texts and complex numbers are no vectors."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)
    async with await harness.started() as index:
        with pytest.raises(InvalidArgument):
            await index.upsert([VectorItem("a", given)])


def _postings(rows: Sequence[Mapping[str, Any]]) -> Postings:
    postings = Postings()
    postings.extend(0, rows[: len(rows) // 2])
    postings.extend(len(rows) // 2, rows[len(rows) // 2 :])
    return postings


def test_postings_agree_with_the_reference() -> None:
    """For filters of every shape, and any set of live rows, the bitmaps say what the evaluator says."""
    chance = random.Random(4)
    rows = [chance.choice(MIXED) for _ in range(200)]
    postings = _postings(rows)
    for _ in range(300):
        alive = BitMap(chance.sample(range(200), 150))
        where = random_filter(chance, depth=5)
        assert set(postings.matching(where, alive)) == {r for r in alive if evaluate(where, rows[r])}, where


def test_numbers_are_found_across_the_sorted_part_and_the_tail() -> None:
    """Comparisons are exact before, between and after merges, with many equal values."""
    chance = random.Random(5)
    column = NumberColumn()
    values: list[float] = []
    for row in range(9_500):
        values.append(chance.choice([chance.randint(-50, 50), chance.random()]))
        column.extend([row], [float(values[-1])])
        if row in (0, 100, 4_095, 4_096, 6_000, 9_499):
            for op, bound in [("gt", 0), ("gte", 7), ("lt", -3), ("lte", 0.5), ("eq", 7)]:
                wanted = F.x == bound if op == "eq" else Compare("x", op, bound)  # type: ignore[arg-type]  # a literal
                expected = {r for r, value in enumerate(values) if evaluate(wanted, {"x": value})}
                assert set(column.where(op, bound)) == expected, (row, op)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8),
    st.integers(-(2**70), 2**70) | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["gt", "gte", "lt", "lte"]),
)
def test_bounds_are_never_rounded(values: list[float], bound: float, op: Any) -> None:
    """A bound that no float can say is compared as the whole number that it is."""
    postings = _postings([{"x": value} for value in values])
    alive = BitMap(range(len(values)))
    for where in (Compare("x", op, bound), F.x == bound, Not(Compare("x", op, bound))):
        expected = {row for row, value in enumerate(values) if evaluate(where, {"x": value})}
        assert set(postings.matching(where, alive)) == expected


def test_long_texts_are_told_apart_by_their_ends() -> None:
    """Texts beyond the length that is kept whole are still compared whole."""
    rows = [{"text": "x" * 5000 + end} for end in "ab"]
    assert set(_postings(rows).matching(F.text == "x" * 5000 + "b", BitMap([0, 1]))) == {1}
    assert set(_postings(rows).matching(F.text == "x" * 64, BitMap([0, 1]))) == set()
