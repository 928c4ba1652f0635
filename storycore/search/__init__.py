"""Search: from a question in words to ranked passages with their sources. Works over any index and embedder."""

from __future__ import annotations

from storycore.search.candidates import Parts
from storycore.search.hits import Hit
from storycore.search.plans import LegPlan, SearchPlan
from storycore.search.requests import Mode
from storycore.search.search import Search

__all__ = ["Hit", "LegPlan", "Mode", "Parts", "Search", "SearchPlan"]
