"""Unknown names and the nearest known one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps: the nearest name, or all of them when they are few; begins with a space."""
    options = list(known)
    near = nearest(name, options)
    if near is not None:
        return f" Did you mean {near!r}?"
    return f" There is {', '.join(repr(option) for option in options)}." if 0 < len(options) <= 12 else ""
