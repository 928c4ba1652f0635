"""The decorator: functions whose results are cached under their parameters."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from storycore.caching.counts import RegionStats
from storycore.caching.entries import Slot, entry_of
from storycore.caching.own_threads import in_own_thread
from storycore.caching.policies import Answer
from storycore.caching.region import Region
from storycore.caching.shortcuts import call_of, function_shortcut
from storycore.caching.signatures import KeyedSignature, hints_of, is_method, return_type
from storycore.caching.tiers import Tiers
from storycore.errors import ConfigError, InvalidArgument
from storycore.ports.environment import Environment

__all__ = ["CachedDecorator", "CachedFunction", "CachedSyncFunction", "Runner"]

P = ParamSpec("P")
R = TypeVar("R")


class Runner(Protocol):
    """Runs a coroutine to its end on an event loop in another thread."""

    def __call__(self, work: Coroutine[Any, Any, R], /) -> R: ...


class _Cached(Generic[P, R]):
    """What both faces share: the function, its region, the key of each call, and the shortcut to a hit."""

    def __init__(self, function: Callable[P, Any], signature: KeyedSignature, region: Region[R], tiers: Tiers) -> None:
        wrapper: Any = self  # update_wrapper is typed for functions, and works for any object
        functools.update_wrapper(wrapper, function)
        self._function: Callable[..., Any] = function
        self._signature = signature
        self._region = region
        self._tiers = tiers
        self._bound: tuple[Any, ...] = ()
        self._shortcut = function_shortcut(function, signature, region.shelf(), self._missed)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        """The method of one object."""
        if instance is None:
            return self
        method = object.__new__(type(self))
        method.__dict__ = {**self.__dict__, "_bound": (instance,)}
        return method

    def standing_alone(self) -> Self:
        """For a function that is no method: the shortcut itself, which can be asked what this object can."""
        shortcut: Any = self._shortcut
        if shortcut is None or is_method(self._function):
            return self
        for name in ("key", "stats", "invalidate", "invalidate_async"):
            if hasattr(self, name):
                setattr(shortcut, name, getattr(self, name))
        alone: Self = shortcut
        return alone

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which this call's result is kept."""
        return self._slot(args, kwargs).key

    def stats(self) -> RegionStats:
        """The counts of this function as they are now."""
        return self._region.stats()

    def _slot(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Slot[R]:
        return self._region.slot(self._signature.parameters((*self._bound, *args), kwargs))

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result by the shortcut, where there is one."""
        if self._shortcut is not None:
            return self._shortcut(*self._bound, *args, **kwargs)
        return self._slowly((*self._bound, *args), kwargs)

    def _missed(
        self, positional: Sequence[Any], named: Mapping[str, Any], rest: Sequence[Any], more: Mapping[str, Any]
    ) -> Any:
        return self._slowly(*call_of(self._signature, positional, named, rest, more))

    def _slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result by the long way; the object of a method is the first argument."""
        raise NotImplementedError


class CachedFunction(_Cached[P, R]):
    """An async function behind both tiers.

    What the decorator returns for a function that is no method has these attributes, and is a function itself, so
    that a hit costs less.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The cached result, or the function's own, of which there is one call for all who ask at the same time."""
        result: Coroutine[Any, Any, R] = self._call(args, kwargs)
        return result

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove this call's result everywhere; whether the shared tier confirmed it (see ``Region.invalidate``)."""
        slot = self._slot(args, kwargs)
        slot.policy.counts.invalidations += 1
        return await self._tiers.invalidate([slot.key])

    async def _slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> R:
        slot = self._region.slot(self._signature.parameters(args, kwargs))
        return _value(await self._tiers.fetch(slot, lambda: self._function(*args, **kwargs)))


class CachedSyncFunction(_Cached[P, R]):
    """A sync function.

    With a ``run`` and outside of an event loop it goes through both tiers, and each load runs in a thread of its own.
    Without one, or when called on an event loop, which must not wait, memory alone serves it: one call at a time per
    key in this process, copies live at most ``l1_ttl``, and other processes neither see nor invalidate them.
    """

    def __init__(
        self,
        function: Callable[P, R],
        signature: KeyedSignature,
        region: Region[R],
        tiers: Tiers,
        env: Environment,
        run: Runner | None,
    ) -> None:
        self._env = env
        self._run = run
        self._locks = _KeyLocks()
        super().__init__(function, signature, region, tiers)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The cached result, or the function's own."""
        result: R = self._call(args, kwargs)
        return result

    def _slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> R:
        slot = self._region.slot(self._signature.parameters(args, kwargs))
        call = functools.partial(self._function, *args, **kwargs)
        if self._run is None or _on_event_loop():
            return self._from_memory(slot, call)
        found = self._tiers.near.look(slot)
        if found is not None:
            return _value(slot.policy.count_hit(found))
        return _value(self._run(self._tiers.fetch(slot, lambda: in_own_thread(call))))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove this call's result from where this function keeps it (see ``Region.invalidate``).

        Raises:
            InvalidArgument: called on an event loop, which must not wait for the shared tier: use
                ``await function.invalidate_async(...)``.
        """
        slot = self._slot(args, kwargs)
        if self._run is None:
            slot.policy.counts.invalidations += 1
            self._tiers.near.forget([slot.key])
            return True
        if _on_event_loop():
            raise InvalidArgument(
                f"{slot.policy.name!r} is invalidated on an event loop, which must not wait; "
                "use `await function.invalidate_async(...)`."
            )
        return self._run(self._invalidate(slot))

    async def invalidate_async(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """As ``invalidate``, from a coroutine."""
        return await self._invalidate(self._slot(args, kwargs))

    async def _invalidate(self, slot: Slot[R]) -> bool:
        slot.policy.counts.invalidations += 1
        return await self._tiers.invalidate([slot.key])

    def _from_memory(self, slot: Slot[R], call: Callable[[], R]) -> R:
        near, policy = self._tiers.near, slot.policy
        with self._locks.of(slot.key):
            found = near.look(slot)
            if found is not None:
                return _value(policy.count_hit(found))
            policy.counts.misses += 1
            policy.counts.loads += 1
            with near.tickets([slot], from_shared=False) as (ticket,):
                now = self._env.clock.now()
                value = call()
                entry = entry_of(policy, value, now, self._env.random.random())
                near.remember(slot, ticket, entry, now)
        return value


class CachedDecorator:
    """What ``Caching.cached`` returns; apply it to one function.

    Args:
        template, ignore: as in ``Caching.cached``.
        declare: makes the region for a key template and a type.
        tiers, env, run: of the cache.
    """

    def __init__(
        self,
        template: str,
        ignore: Sequence[str],
        declare: Callable[[str, Any], Region[Any]],
        tiers: Tiers,
        env: Environment,
        run: Runner | None,
    ) -> None:
        self._template = template
        self._ignore = ignore
        self._declare = declare
        self._tiers = tiers
        self._env = env
        self._run = run

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is told apart by the first match
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CachedFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedSyncFunction[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> CachedFunction[..., Any] | CachedSyncFunction[..., Any]:
        """The cached function.

        Raises:
            ConfigError: see ``Caching.cached``; or the function is a generator.
        """
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise ConfigError(
                f"{function.__qualname__}() is a generator; cache a function that returns a list instead."
            )
        hints = hints_of(function)
        signature = KeyedSignature(function, self._template, self._ignore, hints)
        region = self._declare(signature.template, return_type(function, hints))
        if inspect.iscoroutinefunction(function):
            return CachedFunction(function, signature, region, self._tiers).standing_alone()
        return CachedSyncFunction(function, signature, region, self._tiers, self._env, self._run).standing_alone()


class _KeyLocks:
    """One lock per key while somebody holds or wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.RLock, int]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        with self._guard:
            lock, wanted = self._locks.get(key, (threading.RLock(), 0))
            self._locks[key] = (lock, wanted + 1)
        try:
            with lock:
                yield
        finally:
            self._give_back(key)

    def _give_back(self, key: str) -> None:
        with self._guard:
            lock, wanted = self._locks[key]
            if wanted == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, wanted - 1)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _value(answer: Answer[R]) -> R:
    return answer.value  # type: ignore[return-value]  # None only where the function returned it
