"""Assembling: from a profile's settings and a cache port to the caching above it."""

from __future__ import annotations

from storycore.caching.caching import Caching
from storycore.caching.functions import Runner
from storycore.plugins import Plugins
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment
from storycore.profiles import Profile, revealed

__all__ = ["assembled"]


def assembled(profile: Profile, plugins: Plugins, env: Environment, cache: Cache, *, run: Runner | None) -> Caching:
    """The caching of a store.

    Args:
        plugins: know secrets.
        cache: the port; borrowed.
        run: runs what sync functions await.

    Raises:
        ConfigError: a secret cannot be found.
    """
    settings = profile.caching
    return Caching(
        cache,
        env,
        namespace=profile.namespace,
        l1_max_bytes=settings.l1_max_bytes,
        l1_ttl="auto" if settings.l1_ttl_seconds is None else settings.l1_ttl_seconds,
        command_timeout=settings.command_timeout_ms / 1000 or None,
        degraded_ttl=settings.degraded_ttl_seconds,
        signing_keys=[
            str(revealed(key, path="caching.signing_keys", plugins=plugins)) for key in settings.signing_keys
        ],
        run=run,
    )
