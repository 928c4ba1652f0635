"""Training: codes for the rows of a view, and how far a search has to go among them, found out on the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storycore_faiss.centres import SAMPLED, Centres, ListNumbers, centres_for
from storycore_faiss.codes import SAMPLE, Codebook, CodeBytes, Coded, Effort
from storycore_faiss.flat import Floats, Piece, RowNumbers
from storycore_faiss.planner import Costs, Planner, Situation
from storycore_faiss.rows import Read
from storycore_faiss.view import View

__all__ = ["Asked", "asked_of", "encoded", "found_share", "listed", "needed_effort", "trained"]

_BATCH = 4096
_PROBES, _FAR_PROBES = 256, 64
_MULTIPLIED = 128_000
"""From so many numbers in its targets on FAISS takes a product of matrices, a quarter of the time."""
_NEAR, _FAR = 10, 100
_CODED, _CODED_FAR = 0.997, 0.998
"""What codes have to find of the nearest of a sample of the rows themselves; new queries lie a little further off."""
_LISTED = 0.995
"""What the nearest lists have to hold of them."""
_FEWEST_LISTS = 8
"""So many are searched where fewer would do for the sample; it takes some microseconds."""
_ASKED = 0.999
"""What both have to find where they found too little: of few targets nearly all, for there will be stranger ones."""
_MOST_REACH = 64
_FAR_SEARCHES = 0.25
"""One of so many searches is taken to have a filter, or to ask for many matches."""
_FINER = 0.9
"""Longer codes have to save a tenth of the time."""
_LAST_WIDTH = 2
"""The longest codes take an eighth of the memory of the vectors, and are for those that no others fit."""
_WORTH = 0.75
"""Lists that do not save a quarter of the time are not worth their memory."""


class Asked(NamedTuple):
    """Targets, and what a search would have to find for them.

    Args:
        targets: in the form in which rows are kept.
        near: the nearest ten rows of each, best first; -1 behind the last.
        far: the nearest hundred of the first of them.
    """

    targets: Floats
    near: RowNumbers
    far: RowNumbers


_Ranks = NDArray[np.int64]


def trained(view: View, read: Read, costs: Costs, stopped: Callable[[], bool]) -> Coded | None:
    """The codes that a search takes least time for, at the recall that is promised; ``None`` when none give it.

    Args:
        view: its live rows are what is found.
        read: fetches rows from the truth.
        costs: what this machine takes.
        stopped: asked between steps; what comes after it said yes is of no use.
    """
    chance, rows = np.random.default_rng(view.count), view.alive.numbers
    count = centres_for(view.count)
    probes = max(_PROBES, math.ceil(_MULTIPLIED / view.measure.dimension))
    drawn = chance.choice(rows, min(probes + max(SAMPLE, count * SAMPLED), len(rows)), replace=False)
    drawn, probed = np.split(drawn, [-min(probes, len(drawn) // 4)])
    sample = view.kept.rows.take(drawn, read)
    asked = asked_of(view, view.kept.rows.take(probed, read), probed, read)
    centres, lists, effort = _centres(view, read, sample, count, asked, costs)
    found, least = None, math.inf
    for width in _widths(view.measure.dimension):
        at = _situation(view, width, centres)
        if stopped() or (found and width <= _LAST_WIDTH) or _cost(at, Effort((0, 0), effort), costs) >= _FINER * least:
            break
        book = Codebook.trained(sample[:SAMPLE], view.measure.metric, width)
        codes = encoded(view, book, 0, read, stopped)
        if len(codes) < view.count:
            break
        coded = Coded(book, centres, codes, lists, effort=Effort((0, 0), effort), trained_rows=view.count)
        reach = _reach(coded, asked)
        if reach and (cost := _cost(at, Effort(reach, effort), costs)) < _FINER * least:
            found, least = coded.with_effort(Effort(reach, effort)), cost
    return found


def encoded(view: View, book: Codebook, first: int, read: Read, stopped: Callable[[], bool]) -> CodeBytes:
    """The codes of the rows from ``first``; fewer when it was stopped."""
    parts = [np.empty((0, book.code_bytes), np.uint8)]
    for low in range(first, view.count, _BATCH):
        if stopped():
            break
        parts += [book.encode(piece.matrix) for piece in _pieces(view, low, read)]
    return np.concatenate(parts)


def listed(view: View, centres: Centres, first: int, read: Read) -> ListNumbers:
    """The lists of the rows from ``first``."""
    parts = [np.empty(0, np.uint16)]
    for low in range(first, view.count, _BATCH):
        parts += [centres.lists_of(piece.matrix) for piece in _pieces(view, low, read)]
    return np.concatenate(parts)


def asked_of(view: View, targets: Floats, own: RowNumbers, read: Read) -> Asked:
    """What a search would have to find for some targets.

    Args:
        view: its live rows are what is found.
        targets: in the form in which rows are kept, shape (m, dimension).
        own: the row that a target is, which is none of its neighbours; -1 where it is no row.
        read: fetches rows from the truth.
    """
    held, most = view.kept.rows, min(_FAR + 1, len(view.alive))
    pieces = held.listed(view.alive.numbers, read) if view.dead else held.run(0, view.count, read)
    targets = np.ascontiguousarray(targets)
    rows, _ = view.measure.nearest(targets, most, pieces)
    others = [[r for r in line if r != mine][:_FAR] for line, mine in zip(rows.tolist(), own.tolist(), strict=True)]
    exact = np.array([line + [-1] * (_FAR - len(line)) for line in others], np.int64)
    return Asked(targets, exact[:, :_NEAR], exact[:_FAR_PROBES])


def needed_effort(coded: Coded, asked: Asked) -> Effort | None:
    """How far a search has to go for the recall that is promised on these; ``None`` when that is too far."""
    reach = _reach(coded, asked, (_ASKED, _CODED_FAR))
    return Effort(reach, _probes(coded.centres, coded.lists, asked, _ASKED)) if reach else None


def found_share(coded: Coded, asked: Asked) -> float:
    """The share of the nearest ten that a search without a filter finds."""
    fetch = min(len(coded), coded.effort.reach[0] * _NEAR)
    found = coded.nearest(asked.targets, fetch, coded.effort.probes[0])
    known = _known(asked.near, coded.lists)
    hits = np.array([np.isin(line, some) for line, some in zip(asked.near, found, strict=True)])
    return float((hits & known).sum() / max(1, known.sum()))


def _centres(
    view: View, read: Read, sample: Floats, count: int, asked: Asked, costs: Costs
) -> tuple[Centres, ListNumbers, tuple[int, int]]:
    """The centres, the list of each row, and how many lists a search needs; a single list where more do not pay."""
    dimension, metric = view.measure.dimension, view.measure.metric
    whole = Centres.none(dimension, metric), np.zeros(view.count, np.uint16), (1, 1)
    if count == 1:
        return whole
    centres = Centres.trained(sample, metric, count)
    lists = listed(view, centres, 0, read)
    probes = _probes(centres, lists, asked, _LISTED)
    width, planner = _widths(dimension)[-1], Planner(costs)
    alone, split = _situation(view, width, whole[0]), _situation(view, width, centres, probes)
    return (centres, lists, probes) if planner.compared(split) < _WORTH * planner.compared(alone) else whole


def _probes(centres: Centres, lists: ListNumbers, asked: Asked, share: float) -> tuple[int, int]:
    """In how many of the nearest lists such a share of the nearest rows is."""
    ranks = np.argsort(centres.nearest(asked.targets, len(centres)), axis=1)

    def until(exact: RowNumbers) -> int:
        own = lists[np.minimum(exact, len(lists) - 1)].astype(np.int64)
        return 1 + _at_share(np.take_along_axis(ranks[: len(exact)], own, 1)[_known(exact, lists)], share)

    near = min(len(centres), max(_FEWEST_LISTS, until(asked.near)))
    return near, max(near, until(asked.far))


def _reach(coded: Coded, asked: Asked, shares: tuple[float, float] = (_CODED, _CODED_FAR)) -> tuple[int, int] | None:
    near, far = (
        _reach_at(coded, asked.targets, exact, share)
        for exact, share in zip((asked.near, asked.far), shares, strict=True)
    )
    return (near, max(near, far)) if near and far else None


def _reach_at(coded: Coded, targets: Floats, exact: RowNumbers, share: float) -> int | None:
    """How many times as many rows the codes have to find as are asked for; ``None`` when that is too many."""
    depth = exact.shape[1]
    fetch = min(len(coded), _MOST_REACH * depth)
    found = coded.nearest(np.ascontiguousarray(targets[: len(exact)]), fetch, len(coded.centres))
    places = np.array([_places(line, wanted) for line, wanted in zip(found, exact, strict=True)])
    last = _at_share(places[_known(exact, coded.lists)], share)
    return 1 + last // depth if last < fetch or fetch == len(coded) else None


def _places(found: RowNumbers, wanted: RowNumbers) -> _Ranks:
    """Where each of the rows stands among those that were found; behind the last where it does not."""
    order = np.argsort(found)
    at = order[np.minimum(np.searchsorted(found, wanted, sorter=order), len(found) - 1)]
    return np.where(found[at] == wanted, at, len(found))


def _known(exact: RowNumbers, rows: ListNumbers) -> NDArray[np.bool_]:
    return (exact >= 0) & (exact < len(rows))


def _at_share(places: _Ranks, share: float) -> int:
    """The place up to which a share of them lies; 0 when there are none."""
    if not len(places):
        return 0
    return int(np.sort(places)[min(len(places) - 1, math.ceil(share * len(places)) - 1)])


def _situation(view: View, width: int, centres: Centres, probes: tuple[int, int] = (1, 1)) -> Situation:
    dimension, count = view.measure.dimension, view.count
    size = Codebook(dimension, view.measure.metric, width, np.empty((0, 16, width), np.float32)).code_bytes
    return Situation(count, count, dimension, _NEAR, coded=count, code_bytes=size, lists=len(centres), probes=probes)


def _cost(at: Situation, effort: Effort, costs: Costs) -> float:
    """What a search may take, in microseconds, and a part of one that goes far."""
    planner = Planner(costs, "codes")
    tried = replace(at, reach=effort.reach, probes=effort.probes)
    deep = replace(tried, candidates=at.rows // 10)
    return planner.plan(tried).cost_us + _FAR_SEARCHES * planner.plan(deep).cost_us


def _pieces(view: View, low: int, read: Read) -> list[Piece]:
    return list(view.kept.rows.run(low, min(view.count, low + _BATCH), read))


def _widths(dimension: int) -> tuple[int, ...]:
    if dimension >= 256:
        return 6, 4, 2
    return (4, 2) if dimension >= 64 else (2,)
