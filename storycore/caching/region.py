"""Typed regions: values of one type under one key template, read through both tiers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from storycore.caching.compiled import compiled_key
from storycore.caching.counts import RegionStats
from storycore.caching.entries import Slot
from storycore.caching.own_threads import called
from storycore.caching.policies import Fetched, Policy, Tier
from storycore.caching.shortcuts import MISSING, Missing, Shelf, region_shortcut
from storycore.caching.templates import Template, bounded_key
from storycore.caching.tiers import Tiers
from storycore.caching.writes import Writing
from storycore.errors import ConfigError, InvalidArgument
from storycore.ports.cache import MAX_KEY_BYTES
from storycore.ports.environment import Environment
from storycore.ports.instants import micros

__all__ = ["Region", "RegionEntry"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegionEntry(Generic[T]):
    """What a cache holds under one key, without loading.

    Args:
        value: ``None`` when ``absent``.
        tier: where it was found.
        age: since it was loaded.
        absent: it is remembered that there is nothing.
    """

    value: T | None
    tier: Tier
    age: timedelta
    absent: bool

    @property
    def stale(self) -> bool:
        """Whether its time to live has passed, so that it is served only instead of a failing or slow load."""
        return self.tier is Tier.STALE


class Region(Generic[T]):
    """Values of one type under one key template; made by ``Caching.region``.

    Once ``invalidate`` has returned ``True``, no read of any process gets a value from the shared tier that was loaded
    before, and none from the memory tier of this process; other processes may serve their memory copies until the
    cache's ``l1_ttl`` has passed. A fault of the shared tier never fails a read: it is answered by loading.
    """

    def __init__(
        self,
        tiers: Tiers,
        env: Environment,
        prefix: str,
        template: Template,
        tags: Sequence[Template],
        policy: Policy[T],
    ) -> None:
        self._tiers = tiers
        self._env = env
        self._prefix = prefix
        self._template = template
        self._tags = tags
        self._policy = policy
        self._compiled_key = compiled_key(template, prefix)
        self._shortcut = region_shortcut(template, self.shelf())
        for tag in tags:
            unknown = set(tag.parameters) - set(template.parameters)
            if unknown:
                raise ConfigError(
                    f"The tag {tag.text!r} names {', '.join(sorted(unknown))}, which is not in {template.text!r}.",
                    path="tags",
                )
        if "load" in template.parameters:
            raise ConfigError(f"The key template {template.text!r}: 'load' is taken; name the parameter otherwise.")

    @property
    def name(self) -> str:
        """The key template, under which the statistics list the region."""
        return self._policy.name

    def key(self, /, **parameters: object) -> str:
        """The key of both tiers for these parameters.

        Raises:
            InvalidArgument: a parameter is missing, unknown, or cannot stand in a key.
        """
        return self._key(parameters)

    def slot(self, parameters: Mapping[str, object]) -> Slot[T]:
        """The place of the entry for these parameters."""
        return Slot(
            self._key(parameters),
            tuple(bounded_key(self._prefix, tag.plain(parameters)) for tag in self._tags),
            self._policy,
        )

    def shelf(self) -> Shelf:
        """Where the region's copies in memory are."""
        give = None if getattr(self._policy.codec, "shares", False) else self._policy.codec.give
        return Shelf(memory=self._tiers.near.memory, prefix=self._prefix, counts=self._policy.counts, give=give)

    async def get_or_load(
        self,
        /,
        *,
        load: Callable[..., Awaitable[T | Fetched[T] | None]] | Callable[..., T | Fetched[T] | None],
        **parameters: object,
    ) -> T | None:
        """The value from a tier, or from ``load``, which is then called once for all who ask at the same time.

        Args:
            load: called with the template's parameters as keywords; a function that is not async runs in a thread
                of its own. What it raises is raised here and not kept.
                ``None`` means that there is nothing, unless the region's type admits ``None`` as a value.
                A ``Fetched`` says more: how long the value is fresh, or that it is not to be kept.

        Raises:
            DeadlineExceeded: the load took longer than the region's hard timeout.
            InvalidArgument: a parameter is missing, unknown, or cannot stand in a key.
        """
        near = self._in_memory(parameters)
        if near is not MISSING:
            return near
        answer = await self._tiers.fetch(self.slot(parameters), lambda: called(load, parameters))
        return answer.value

    async def get_or_load_many(
        self,
        wanted: Sequence[Mapping[str, object]],
        *,
        load_many: Callable[[Sequence[Mapping[str, object]]], Awaitable[Sequence[T | Fetched[T] | None]]],
    ) -> list[T | None]:
        """One value per set of parameters, in order, with at most one load of all that is missing.

        Args:
            wanted: may repeat; each different set is loaded once.
            load_many: takes the missing sets, returns their values, or ``Fetched``, in that order. When it fails,
                older values stand in if there are such for all that is missing.

        Raises:
            InvalidArgument: ``load_many`` returned more or fewer values than there were sets.
        """
        slots = [self.slot(parameters) for parameters in wanted]
        first = {slot.key: i for i, slot in reversed(list(enumerate(slots)))}
        chosen = sorted(first.values())

        async def load(missing: Sequence[int]) -> Sequence[T | Fetched[T] | None]:
            asked = [wanted[chosen[i]] for i in missing]
            return self._matching(await load_many(asked), len(asked))

        answers = await self._tiers.fetch_many([slots[i] for i in chosen], load)
        values = {slots[i].key: answer.value for i, answer in zip(chosen, answers, strict=True)}
        return [values[slot.key] for slot in slots]

    async def put(self, value: T | Fetched[T] | None, /, **parameters: object) -> bool:
        """Store a value that is the newest at this moment.

        It goes in under a lease, so it never overtakes an invalidation that comes later than the lease, nor any of
        this process that begins during the call. Where somebody else may write between the moment at which the value
        was the newest and this call, use ``writing``, which takes the lease before.

        Returns:
            Whether the shared tier confirmed that nothing older is served from it; when an invalidation came between,
            nothing is. If not, the key is invalidated as soon as the tier answers again, and nothing is served from it
            in this process before.
        """
        return await self._tiers.writes.put(self.slot(parameters), value)

    def writing(self, /, **parameters: object) -> AbstractAsyncContextManager[Writing[T]]:
        """A block in which the source is written, by any number of writers at once, in any process.

        ``async with stories.writing(id="s1") as writing: await save(story); writing.put(story)``. The old value is
        removed at its beginning; at its end the put value is stored, unless the key was invalidated meanwhile, or the
        block took longer than the region's lease. Without a value, and after an error, the key is invalidated again.
        Readers of the key wait meanwhile, for as long as a lease at most, so nothing in the block may read it.

        Raises:
            InvalidArgument: a parameter is missing, unknown, or cannot stand in a key.
        """
        return self._tiers.writes.writing(self.slot(parameters))

    async def invalidate(self, /, **parameters: object) -> bool:
        """Remove the value everywhere, and keep out every load that is under way.

        Returns:
            Whether the shared tier confirmed it. If not, it is repeated until confirmed, and nothing is served from
            the tier in this process before.
        """
        return await self.invalidate_many([parameters])

    async def invalidate_many(self, unwanted: Iterable[Mapping[str, object]]) -> bool:
        """Invalidate several entries in one call."""
        keys = list(dict.fromkeys(self.slot(parameters).key for parameters in unwanted))
        self._policy.counts.invalidations += len(keys)
        return await self._tiers.invalidate(keys) if keys else True

    async def entry(self, /, **parameters: object) -> RegionEntry[T] | None:
        """What is held now, without loading or counting; an outdated value only if ``max_stale`` lets it stand in."""
        answer = await self._tiers.peek(self.slot(parameters))
        if answer is None:
            return None
        age = timedelta(microseconds=micros(self._env.clock.now()) - answer.stored_at)
        return RegionEntry(answer.value, answer.tier, age, answer.absent)

    def stats(self) -> RegionStats:
        """The region's counts as they are now."""
        return self._policy.counts.snapshot()

    def _matching(self, values: Sequence[T | Fetched[T] | None] | None, asked: int) -> Sequence[T | Fetched[T] | None]:
        """The values, if there are as many as were asked for."""
        if values is None or len(values) != asked:
            raise InvalidArgument(
                f"The loader of {self.name!r} returned {'no' if values is None else len(values)} values for {asked} "
                "keys; it has to return one for each, in their order, and None where there is nothing."
            )
        return values

    def _key(self, parameters: Mapping[str, object]) -> str:
        try:
            key = self._compiled_key(**parameters)
        except Exception:  # whatever it is, the template says it better
            key = ""
        return key if 0 < len(key) <= MAX_KEY_BYTES // 4 else bounded_key(self._prefix, self._template.key(parameters))

    def _in_memory(self, parameters: Mapping[str, object]) -> T | Missing | None:
        """The value of a hit in memory, counted; parameters that do not fit hit nothing."""
        try:
            value: T | Missing | None = self._shortcut(**parameters)
        except TypeError:
            return MISSING
        return value
