"""Analytics: what happens in an application, tracked as events."""

from __future__ import annotations

from storycore.analytics.tracking import Tracker

__all__ = ["Tracker"]
