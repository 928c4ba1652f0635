"""Assembling: from a profile's settings and a cache port to the caching above it, and to the entities behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from storycore.caching.caching import Caching
from storycore.caching.embeddings import CachedEmbedder
from storycore.caching.entities import CachedEntities
from storycore.caching.following import Following
from storycore.caching.functions import Runner
from storycore.caching.tagged_entities import TaggedEntities
from storycore.plugins import Plugins
from storycore.ports.cache import Cache
from storycore.ports.embeddings import Embedder, Purpose
from storycore.ports.entities import EntityStore, FeedPosition, Key
from storycore.ports.environment import Environment
from storycore.profiles import Profile, revealed

__all__ = ["assembled", "embedder_of", "entities_of", "follower_of"]


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


def entities_of(
    profile: Profile, inner: EntityStore, raw: EntityStore, caching: Caching
) -> tuple[CachedEntities | None, TaggedEntities]:
    """The entity store behind what the profile asks for: a cache of records, if any, and the tags of entities.

    Args:
        inner: the store whose records are whole.
        raw: the same without what makes them whole.
        caching: keeps records, and is told of tags.
    """
    asked = profile.caching
    cached = None
    if asked.entities:
        cached = CachedEntities(inner, caching, ttl=timedelta(seconds=asked.entity_ttl_seconds))
    return cached, TaggedEntities(cached or inner, raw, caching, remembers=asked.follow_changes)


def embedder_of(profile: Profile, inner: Embedder, caching: Caching) -> Embedder:
    """The embedder behind the cache, if the profile asks for it and its vectors cost something."""
    asked = profile.caching
    if asked.embeddings == "none" or not inner.spec.semantic:
        return inner
    purposes: Sequence[Purpose] = ("query",) if asked.embeddings == "queries" else ("query", "document")
    return CachedEmbedder(inner, caching, ttl=timedelta(seconds=asked.embedding_ttl_seconds), purposes=purposes)


def follower_of(
    profile: Profile,
    raw: EntityStore,
    latest: Callable[[], Awaitable[FeedPosition | None]],
    caching: Caching,
    cached: CachedEntities | None,
    tagged: TaggedEntities,
) -> Following | None:
    """What invalidates by the change feed, if the profile asks for it."""
    if not profile.caching.follow_changes:
        return None

    async def forget(keys: Sequence[Key]) -> None:
        if cached is not None:
            await cached.forget(keys)

    return Following(raw, latest=latest, forget=forget, forget_all=caching.clear, outdate=tagged.outdate)
