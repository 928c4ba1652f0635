"""Calibration: what this machine takes for each part of a search, measured once in a few hundredths of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from storycore_faiss.centres import Centres
from storycore_faiss.codes import Codebook, Coded, Effort
from storycore_faiss.flat import Measure, Piece
from storycore_faiss.planner import Costs

__all__ = ["calibrated"]

_DIMENSION, _ROWS, _LISTED, _CODES, _FETCH = 128, 65_536, 8192, 65_536, 1024
_CHECKED = 100.0
"""Nanoseconds for asking whether a row that was fetched is a candidate, and for putting those in order."""
_ROUNDS = 3
_TRUST = 4.0
"""A measurement this many times off what is usual says more about the moment than about the machine."""


def calibrated() -> Costs:
    """The costs of this machine; what is measured far off is cut back towards what is usual."""
    chance = np.random.default_rng(0)
    rows = np.ones((_ROWS, _DIMENSION), np.float32)  # more than a processor's caches hold
    measure, target = Measure(_DIMENSION, "dot"), rows[:1]
    listed = np.sort(chance.choice(_ROWS, _LISTED, replace=False)).astype(np.int64)
    coded = _coded(chance)
    few = _nanoseconds(lambda: coded.nearest(target, 16, 1))
    many = _nanoseconds(lambda: coded.nearest(target, _FETCH, 1))
    usual, found = asdict(Costs()), asdict(Costs())
    found["whole"] = _nanoseconds(lambda: measure.nearest(target, 16, [Piece(rows, 0)])) / rows.size
    found["listed"] = _nanoseconds(lambda: measure.nearest(target, 16, [Piece(rows, 0, listed)])) / (
        _LISTED * _DIMENSION
    )
    found["code"] = few / (_CODES * coded.book.code_bytes)
    found["fetched"] = (many - few) / _FETCH + _CHECKED
    return Costs(**{name: min(max(found[name], value / _TRUST), value * _TRUST) for name, value in usual.items()})


def _coded(chance: np.random.Generator) -> Coded:
    centroids = chance.normal(size=(_DIMENSION // 4, 16, 4)).astype(np.float32)
    book = Codebook(_DIMENSION, "dot", 4, centroids)
    codes = chance.integers(0, 256, (_CODES, book.code_bytes), np.uint8)
    lists, effort = np.zeros(_CODES, np.uint16), Effort((1, 1), (1, 1))
    return Coded(book, Centres.none(_DIMENSION, "dot"), codes, lists, effort=effort, trained_rows=_CODES)


def _nanoseconds(work: Callable[[], object]) -> float:
    """The shortest of a few rounds: whatever else the machine does only adds to it."""
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - started)
    return float(min(times))
