"""Search: from a question in words to ranked passages with their sources. Works over any index and embedder."""

from __future__ import annotations

from storycore.search.hits import Hit
from storycore.search.semantic import Search

__all__ = ["Hit", "Search"]
