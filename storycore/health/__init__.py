"""Health: whether a store lives, can serve, and how each of its parts does."""

from __future__ import annotations

from storycore.health.checkup import Checkup
from storycore.health.report import HealthReport, Level, State

__all__ = ["Checkup", "HealthReport", "Level", "State"]
