"""Findings: which errors say something about what lies in an archive, and which only about this moment."""

from __future__ import annotations

from storycore.errors import DeadlineExceeded, StorageFull, Throttled, Unavailable

__all__ = ["PASSING"]

PASSING = (DeadlineExceeded, StorageFull, Throttled, Unavailable)
"""The archive cannot be reached now, or the temporary folder is full: nothing was found out about any backup."""
