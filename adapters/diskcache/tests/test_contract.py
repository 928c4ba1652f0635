"""The cache on disk keeps the Cache contract."""

from __future__ import annotations

from storycore.testing.cache import CacheSuite


class TestDiskCache(CacheSuite):
    adapter = "diskcache"
