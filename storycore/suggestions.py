"""Suggestions for mistyped names, in the one form that all error messages use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_NEAR = 0.55
"""How alike two names must be, from 0 to 1; difflib's own 0.6 misses short names with two letters swapped."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` most likely meant, whatever its case; ``None`` when none is near."""
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=_NEAR)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest name where one is near, else all that are known."""
    names = sorted(known)
    near = nearest(name, names)
    return f"Did you mean {near!r}?" if near else f"Known: {', '.join(names) or 'none'}."
