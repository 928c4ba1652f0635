"""The cache on Redis keeps the Cache contract."""

from __future__ import annotations

from storycore.testing.cache import CacheSuite


class TestRedisCache(CacheSuite):
    """The Cache contract on Valkey."""

    adapter = "redis"
