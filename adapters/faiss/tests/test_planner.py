"""The planner: each situation has its way, and nobody's wish for an exact answer is passed over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from storycore_faiss.calibration import calibrated
from storycore_faiss.flat import use_one_thread
from storycore_faiss.planner import Costs, Planner, Search, Situation, Way
from storycore_faiss.snapshots import Snapshots

from storycore.ports.vectors import IndexSpec

PLANNER = Planner(Costs())
LARGE = Situation(
    candidates=100_000, rows=100_000, dimension=384, top_k=10, coded=100_000, code_bytes=24, reach=(8, 10)
)


def _small(candidates: int, top_k: int = 5, *, safe: bool = True) -> Way:
    return PLANNER.plan(Situation(candidates, 10_000, 24, top_k, safe=safe)).way


def test_without_codes_every_way_is_exact() -> None:
    """Nothing, few, some, all: each has its way; what is not safe in single precision is scored directly."""
    assert _small(0) is Way.EMPTY
    assert _small(200) is Way.DIRECT
    assert _small(5_000) is Way.LISTED
    assert _small(10_000) is Way.WHOLE
    assert _small(5_000, 5_000) is Way.DIRECT
    assert _small(10_000, safe=False) is Way.DIRECT


@pytest.mark.parametrize(
    ("candidates", "way"),
    [(100_000, Way.CODES), (50_000, Way.CODES), (10_000, Way.CODES), (1_000, Way.LISTED), (100, Way.DIRECT)],
)
def test_selective_filters_are_answered_exactly(candidates: int, way: Way) -> None:
    """Codes serve where many rows match; where few do, looking at those costs less and misses nothing."""
    planned = PLANNER.plan(replace(LARGE, candidates=candidates))
    assert (planned.way, planned.approximate) == (way, way is Way.CODES)


def test_who_asks_for_an_exact_answer_gets_it() -> None:
    """``exact`` and vectors beyond single precision are never approximated, whatever way is set."""
    for search in ("auto", "exact", "codes"):
        planner = Planner(Costs(), search)
        for at in (replace(LARGE, exact=True), replace(LARGE, safe=False)):
            assert not planner.plan(at).approximate


@pytest.mark.parametrize(
    ("search", "at", "way"),
    [
        ("exact", LARGE, Way.WHOLE),
        ("codes", replace(LARGE, candidates=300), Way.CODES),
        ("codes", replace(LARGE, coded=0), Way.WHOLE),
        ("auto", replace(LARGE, coded=0), Way.WHOLE),
    ],
)
def test_a_way_can_be_set(search: Search, at: Situation, way: Way) -> None:
    """The way that is set is taken where what it needs is there; else the answer is exact."""
    assert Planner(Costs(), search).plan(at).way is way


def test_the_first_pass_finds_enough_for_the_share_that_matches() -> None:
    """The fewer rows match, the more the codes have to find; never more than there are."""
    shares = [PLANNER.plan(replace(LARGE, candidates=c)).fetch for c in (100_000, 50_000, 10_000)]
    assert shares == [80, 343, 1925]
    assert Planner(Costs(), "codes").plan(replace(LARGE, candidates=50)).fetch == 100_000
    assert PLANNER.plan(replace(LARGE, top_k=10_000)).way is Way.WHOLE


def test_as_many_lists_are_searched_as_the_share_that_matches_needs() -> None:
    """Without a filter few, with one more, and all of them where the best may lie anywhere."""
    listed = replace(LARGE, lists=512, probes=(32, 128))
    plans = [PLANNER.plan(replace(listed, candidates=c)) for c in (100_000, 90_000, 40_000, 10_000)]
    assert [plan.lists for plan in plans] == [32, 32, 128, 512]
    assert plans[0].cost_us < PLANNER.plan(LARGE).cost_us


def test_a_machine_is_measured_in_a_moment() -> None:
    """Each cost is measured, and none is further off what is usual than a factor of four."""
    with ThreadPoolExecutor(1, initializer=use_one_thread) as alone:
        measured = asdict(alone.submit(calibrated).result())
    assert all(usual / 4 <= measured[name] <= usual * 4 for name, usual in asdict(Costs()).items())
    assert measured["whole"] != Costs().whole


def test_measured_costs_serve_the_machine_they_were_measured_on(tmp_path: Path) -> None:
    """What was kept is read again; what is damaged or of another machine is not."""
    snapshots = Snapshots(tmp_path / "cache", IndexSpec(4))
    assert snapshots.read_costs() is None
    costs = Costs(listed=0.3)
    snapshots.write_costs(costs)
    assert snapshots.read_costs() == costs
    file = tmp_path / "cache" / "costs.json"
    for content in (b"", b"[]", b"{}", file.read_bytes().replace(b"faiss", b"other"), b'{"machine":1,"costs":{}}'):
        file.write_bytes(content)
        assert snapshots.read_costs() is None
