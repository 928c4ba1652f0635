"""The cache of storycore on Redis or Valkey."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_redis.config import RedisConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for the cache."""
    return [
        Adapter(
            name="redis",
            ports={PortName.CACHE: "storycore_redis.cache:open_cache"},
            config=RedisConfig,
            url_path="db",
            distribution="storycore-redis",
            summary="A cache on Redis or Valkey, for any number of machines; tells what others change.",
            conformance={"namespace": "kit-{name}", "deadline_ms": 0, "connect_timeout_ms": 20_000},
            server="storycore_redis.testing:server",
        )
    ]
