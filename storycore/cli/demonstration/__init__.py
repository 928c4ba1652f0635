"""The demonstration: one small job through every port. The job gives plain values; telling them is apart from it."""

from __future__ import annotations

from storycore.cli.demonstration.job import demonstrate
from storycore.cli.demonstration.outcome import Demonstration
from storycore.cli.demonstration.telling import tell

__all__ = ["Demonstration", "demonstrate", "tell"]
