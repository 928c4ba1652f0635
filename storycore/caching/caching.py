"""One namespace of cached values: memory in front of a Cache port, with regions, a decorator, tags and statistics."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from storycore.caching.codecs import Codec, JsonCodec
from storycore.caching.compression import Zstd
from storycore.caching.counts import CacheStats, RegionStats, total_of
from storycore.caching.envelope import secret_of
from storycore.caching.functions import CachedDecorator, Runner
from storycore.caching.guard import Guard
from storycore.caching.inspection import Inspection, census, inspect
from storycore.caching.memory_tier import MemoryTier
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Duration, Policy, duration
from storycore.caching.pushes import Pushes
from storycore.caching.region import Region
from storycore.caching.shared_tier import SharedTier
from storycore.caching.templates import Template, bounded_key
from storycore.caching.tiers import Tiers
from storycore.caching.warming import Progress, WarmLoader, warm
from storycore.errors import ConfigError
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment

__all__ = ["Caching"]

T = TypeVar("T")

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_SHARED_MEMORY_TTL = timedelta(seconds=5)


class Caching:
    """Memory in front of a shared tier.

    Args:
        port: the shared tier, behind its checks; borrowed, not closed.
        env: clock, ids and randomness.
        namespace: 1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``; caches with other namespaces share nothing.
        l1_max_bytes: bound on the memory tier's keys, payloads and bookkeeping.
        l1_max_entries: bound on the memory tier's entries.
        l1_ttl: how long a copy in memory may live at most. ``"auto"``: 5 seconds when several processes may share
            the port and it does not tell changes, else as long as the value. Zero keeps nothing in memory.
        command_timeout: how long a call of the shared tier may hold up a caller, who then goes on without it;
            ``None``: as long as it takes.
        degraded_ttl: how long a copy in memory may live at most while the shared tier is let alone after failures.
        signing_keys: what is stored is signed with the first of these secrets, and what is signed with none of them
            is a miss. Without any, damage is found, and forgery is not.
        run: how sync functions run a coroutine to its end from another thread than the event loop's; without it they
            are served by memory alone.

    Raises:
        ConfigError: the namespace is not of that form.
    """

    def __init__(
        self,
        port: Cache,
        env: Environment | None = None,
        *,
        namespace: str = "default",
        l1_max_bytes: int = 64 * 1024 * 1024,
        l1_max_entries: int = 100_000,
        l1_ttl: Duration | Literal["auto"] | None = "auto",
        command_timeout: Duration | None = None,
        degraded_ttl: Duration = timedelta(seconds=1),
        signing_keys: Sequence[str | bytes] = (),
        run: Runner | None = None,
    ) -> None:
        if not _NAMESPACE.match(namespace):
            raise ConfigError(
                f"The cache namespace {namespace!r} must be 1 to 64 ASCII letters, digits, '_', '.' or '-'.",
                path="namespace",
            )
        self._env = env or Environment()
        self._prefix = f"{namespace}:"
        self._run = run
        self._port = port
        self._secrets = [secret_of(key) for key in signing_keys]
        self._memory = MemoryTier(self._env.clock, max_bytes=l1_max_bytes, max_entries=l1_max_entries)
        near = NearTier(self._memory, longest=_longest(l1_ttl, port), bridged=duration(degraded_ttl))
        limit = None if command_timeout is None else duration(command_timeout).total_seconds()
        guard = Guard(self._env.clock, seconds=limit)
        shared = SharedTier(port, self._env, self._prefix, guard, secrets=self._secrets)
        tells = l1_ttl == "auto" and port.capabilities.has("cache.push")
        pushes = Pushes(port, near, self._env.clock) if tells else None
        self._tiers = Tiers(near, shared, self._env, pushes=pushes)
        self._policies: dict[str, Policy[Any]] = {}

    def region(
        self,
        template: str,
        kind: type[T],
        *,
        ttl: Duration,
        tags: Sequence[str] = (),
        jitter: float = 0.1,
        negative_ttl: Duration | None = None,
        lease: Duration = timedelta(seconds=10),
        max_stale: Duration | None = None,
        refresh_at: float | None = None,
        early_refresh: float = 0.0,
        soft_timeout: Duration | None = None,
        hard_timeout: Duration | None = None,
        share: bool | None = None,
        codec: Codec[T] | None = None,
        expires_at: Callable[[T], datetime | None] | None = None,
        compress: Literal["zstd"] | None = None,
        compress_above: int = 1024,
    ) -> Region[T]:
        """Declare a region.

        Args:
            template: of its keys, for example ``"story:{user_id}:{story_id}"``.
            kind: type of its values: a model, a dataclass, a standard type.
            ttl: how long a value is fresh.
            tags: templates of tags whose invalidation outdates an entry, for example ``"user:{user_id}"``.
            jitter: up to this share of the ttl is taken off at random, so that entries do not expire together.
            negative_ttl: how long a loader's ``None`` is remembered; ``None``: not at all.
            lease: how long one loader keeps other processes waiting; longer than a load usually takes.
            max_stale: how long beyond its ttl a value stands in when the load fails, or takes longer than
                ``soft_timeout``; ``None``: not at all.
            refresh_at: the share of its ttl after which a value that is read is loaded again in the background, from
                0 to 1; ``None``: never.
            early_refresh: load a value again in the background before it ends, the sooner the longer its load took,
                at a moment drawn at random for each process; 1 is usual, more is sooner, 0 is never.
            soft_timeout: how long a reader waits for a load before he gets an outdated value that may stand in; the
                load goes on. ``None``: as long as it takes.
            hard_timeout: how long a load may take before it is cancelled and counts as failed.
            share: hand the same object to all callers, which is faster and safe when nobody changes it; ``None``:
                exactly where the type cannot be changed.
            codec: instead of JSON.
            expires_at: when a value itself ends, if it does.
            compress: store values compressed in the shared tier, where that makes them smaller; it needs the extra
                ``storycore[zstd]``, and who reads without it has a miss.
            compress_above: encoded values of so many bytes and more.

        Raises:
            ConfigError: the template, a tag or a time is invalid, the type cannot be described, or the template is
                already declared for another type.
        """
        made = codec if codec is not None else JsonCodec[T](kind, share=share)
        policy = Policy(
            name=template,
            codec=made,
            ttl=duration(ttl),
            jitter=jitter,
            negative_ttl=_optional(negative_ttl),
            lease=duration(lease),
            max_stale=_optional(max_stale),
            refresh_at=refresh_at,
            early_refresh=early_refresh,
            soft_timeout=_optional(soft_timeout),
            hard_timeout=_optional(hard_timeout),
            expires_at=expires_at,
            compress=_compression(compress, compress_above),
            counts=self._counts(template, made),
        )
        region = Region(self._tiers, self._env, self._prefix, Template(template), _templates(tags), policy)
        self._policies[template] = policy
        return region

    def cached(
        self,
        template: str,
        *,
        ttl: Duration,
        tags: Sequence[str] = (),
        ignore: Sequence[str] = (),
        jitter: float = 0.1,
        negative_ttl: Duration | None = None,
        lease: Duration = timedelta(seconds=10),
        max_stale: Duration | None = None,
        refresh_at: float | None = None,
        early_refresh: float = 0.0,
        soft_timeout: Duration | None = None,
        hard_timeout: Duration | None = None,
        share: bool | None = None,
        compress: Literal["zstd"] | None = None,
        compress_above: int = 1024,
    ) -> CachedDecorator:
        """Decorate a function, async or sync, so that its results are cached under its parameters.

        Args:
            template: of the keys; it names the function's parameters, or attributes of them. Without any placeholder
                it stands for itself followed by all parameters.
            ignore: parameters that do not change the result; ``self`` and ``cls`` are always ignored.
            others: as in ``region``; the type is the function's return annotation.

        Raises:
            ConfigError: when the function is decorated: the template names no parameter of it, or a parameter is
                neither in the template nor in ``ignore``.
        """

        def declare(key: str, kind: Any) -> Region[Any]:  # the function's own return type
            return self.region(
                key,
                kind,
                ttl=ttl,
                tags=tags,
                jitter=jitter,
                negative_ttl=negative_ttl,
                lease=lease,
                max_stale=max_stale,
                refresh_at=refresh_at,
                early_refresh=early_refresh,
                soft_timeout=soft_timeout,
                hard_timeout=hard_timeout,
                share=share,
                compress=compress,
                compress_above=compress_above,
            )

        return CachedDecorator(template, ignore, declare, self._tiers, self._env, self._run)

    async def invalidate_keys(self, *keys: str) -> bool:
        """Remove values by their keys within the namespace; otherwise as ``Region.invalidate``."""
        return await self._tiers.invalidate([bounded_key(self._prefix, key) for key in keys]) if keys else True

    async def inspect(self, key: str) -> Inspection | None:
        """What the shared tier holds under a key of the namespace; ``None`` when nothing.

        Raises:
            StorycoreError: the shared tier does not answer.
        """
        return await inspect(
            self._port,
            self._prefix,
            key,
            policies=self._policies,
            secrets=self._secrets or [b""],
            now=self._env.clock.now(),
        )

    async def census(self) -> dict[str, int]:
        """How many values the shared tier holds, by what their keys begin with; it walks all keys of the namespace.

        Raises:
            StorycoreError: the shared tier does not answer.
        """
        return await census(self._port, self._prefix)

    async def invalidate_tags(self, *tags: str) -> bool:
        """Outdate every entry that carries one of the tags, and every load of such an entry that is under way.

        Returns:
            Whether the shared tier confirmed it. If not, it is repeated until confirmed, and nothing is served from
            the tier in this process before.
        """
        return await self._tiers.invalidate_tags([bounded_key(self._prefix, tag) for tag in tags]) if tags else True

    async def warm(self, sources: Sequence[tuple[Region[Any], WarmLoader]], *, progress: Progress | None = None) -> int:
        """Fill regions before they are asked.

        Args:
            sources: each region with a loader, which gives the parameters and the value of each key to warm. It is
                called twice, so that values invalidated meanwhile are not brought back.
            progress: told the region's name, how many keys are done, and how many there are.

        Returns:
            How many keys were asked for.
        """
        return await warm(sources, progress=progress)

    def clear_l1(self) -> None:
        """Forget what is in memory; the shared tier keeps its values."""
        self._tiers.near.forget_all()

    async def clear(self) -> bool:
        """Remove all values of the namespace from both tiers; whether the shared tier confirmed it."""
        return await self._tiers.clear()

    def stats(self) -> CacheStats:
        """All counts as they are now."""
        regions = {name: policy.counts.snapshot() for name, policy in list(self._policies.items())}
        return CacheStats(
            regions=regions,
            total=total_of(regions.values()),
            memory_entries=len(self._memory),
            memory_bytes=self._memory.size_bytes,
            memory_evictions=self._memory.evictions,
            pending_invalidations=len(self._tiers.shared.outbox),
            breaker=self._tiers.shared.guard.state,
            outages=self._tiers.shared.guard.opened,
            shared_bytes_read=self._tiers.shared.bytes_read,
            shared_bytes_written=self._tiers.shared.bytes_written,
        )

    async def close(self) -> None:
        """End all loads, try once more to deliver pending invalidations, forget what is in memory."""
        await self._tiers.close()
        self.clear_l1()

    def _counts(self, template: str, codec: Codec[Any]) -> RegionStats:
        known = self._policies.get(template)
        if known is None:
            return RegionStats()
        if known.codec.schema != codec.schema:
            raise ConfigError(
                f"The key template {template!r} is already declared for another type; use another template.",
                path=template,
            )
        return known.counts


def _templates(tags: Sequence[str]) -> list[Template]:
    if isinstance(tags, str):  # a sequence too, of tags of one letter each
        raise ConfigError(
            f"tags is the text {tags!r}; it must be a sequence of tags, ({tags!r},) for one.", path="tags"
        )
    return [Template(tag) for tag in tags]


def _compression(name: object, above: int) -> Zstd | None:
    if name not in (None, "zstd"):
        raise ConfigError(f'compress is {name!r}; it must be "zstd" or None.', path="compress")
    return None if name is None else Zstd(above)


def _optional(given: Duration | None) -> timedelta | None:
    return None if given is None else duration(given)


def _longest(l1_ttl: Duration | Literal["auto"] | None, port: Cache) -> timedelta | None:
    if l1_ttl == "auto":
        return _SHARED_MEMORY_TTL if port.capabilities.guarantees.multi_process else None
    return None if l1_ttl is None else duration(l1_ttl)
