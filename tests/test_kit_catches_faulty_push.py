"""The Cache suite catches caches that tell changes, and break one promise about it each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.plugins import Adapter
from storycore.ports.cache import Changed, Listener
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.environment import Clock, Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.cache import CacheSuite
from storycore.testing.verdicts import verdict

PLACES: WeakKeyDictionary[Clock, list[Telling]] = WeakKeyDictionary()
"""The instances on one place, which one clock stands for."""


class Telling(MemoryCache):
    """The reference with one place for all its instances; it tells what others change. Each class below errs."""

    def __init__(self, config: MemoryCacheConfig, env: Environment) -> None:
        super().__init__(config, env)
        self.listeners: dict[object, Listener] = {}
        self.seen: set[tuple[str, str]] = set()
        self.others = PLACES.setdefault(env.clock, [])
        if self.others:
            first = self.others[0]
            self._values, self._leases, self._counters = first._values, first._leases, first._counters
        self.others.append(self)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities({"cache.push": Support.NATIVE})

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            self.tell(None)

    async def listen(self, listener: Listener) -> Callable[[], None]:
        ticket = object()
        self.listeners[ticket] = listener
        return lambda: self.listeners.pop(ticket, None) and None

    def tell(self, changed: Changed | None) -> None:
        for listener in list(self.listeners.values()):
            listener(changed)

    def note(self, kind: str, name: str) -> None:
        self.seen.add((kind, name))

    def changed(self, kind: str, name: str) -> None:
        for other in self.others:
            if other is not self and (kind, name) in other.seen:
                other.seen.discard((kind, name))
                other.tell(Changed(keys=(name,)) if kind == "value" else Changed(counters=(name,)))

    def _live(self, key: str) -> bytes | None:
        self.note("value", key)
        return super()._live(key)

    def _counter(self, name: str) -> int:
        self.note("counter", name)
        return super()._counter(name)

    def _drop(self, key: str) -> None:
        super()._drop(key)
        self.changed("value", key)

    def _store(self, key: str, value: bytes, ttl: Any) -> None:
        super()._store(key, value, ttl)
        self.note("value", key)

    def _touch(self, key: str, ttl: Any) -> bool:
        self.changed("value", key)
        return super()._touch(key, ttl)

    async def bump(self, names: Sequence[str]) -> list[int]:
        found = await super().bump(names)
        for name in names:
            self.changed("counter", name)
        return found


class TellsNothing(Telling):
    def changed(self, kind: str, name: str) -> None: ...


class TellsOnlyValues(Telling):
    def changed(self, kind: str, name: str) -> None:
        if kind == "value":
            super().changed(kind, name)


class MixesCountersUp(Telling):
    def changed(self, kind: str, name: str) -> None:
        super().changed("value", name)
        super().changed("counter", name)


class ForgetsWhatItStored(Telling):
    def _store(self, key: str, value: bytes, ttl: Any) -> None:
        super()._store(key, value, ttl)
        self.seen.discard(("value", key))


class ForgetsMisses(Telling):
    def _live(self, key: str) -> bytes | None:
        found = super()._live(key)
        if found is None:
            self.seen.discard(("value", key))
        return found


class OverlooksTouches(Telling):
    def _touch(self, key: str, ttl: Any) -> bool:
        return MemoryCache._touch(self, key, ttl)


class TellsOnlyTheLast(Telling):
    async def listen(self, listener: Listener) -> Callable[[], None]:
        self.listeners.clear()
        return await super().listen(listener)


class NeverStops(Telling):
    async def listen(self, listener: Listener) -> Callable[[], None]:
        await super().listen(listener)
        return lambda: None


class ClosesInSilence(Telling):
    async def close(self) -> None:
        self._opened = False


class ClaimsWithoutListening(Telling):
    async def listen(self, listener: Listener) -> Callable[[], None]:
        return await MemoryCache.listen(self, listener)


IS_TOLD = "test_a_value_that_was_read_is_told_of_when_another_changes_it"
CAUGHT_BY: dict[type[Telling], str] = {
    TellsNothing: IS_TOLD,
    OverlooksTouches: IS_TOLD,
    TellsOnlyValues: "test_counters_are_told_of_apart_from_values",
    MixesCountersUp: "test_counters_are_told_of_apart_from_values",
    ForgetsWhatItStored: "test_what_was_stored_here_is_told_of_when_another_changes_it",
    ForgetsMisses: "test_a_miss_is_told_of_when_another_fills_it",
    TellsOnlyTheLast: "test_every_listener_is_told_until_it_ends",
    NeverStops: "test_every_listener_is_told_until_it_ends",
    ClosesInSilence: "test_closing_says_that_nothing_is_known_any_more",
    ClaimsWithoutListening: "test_listening_is_unsupported_where_it_is_not_claimed",
}


def adapter_of(fault: type[Telling]) -> Adapter:
    """The faulty cache behind the plugin door."""
    ports = {PortName.CACHE: f"{__name__}:{fault.__name__}"}
    return Adapter(name="memory", ports=ports, config=MemoryCacheConfig, summary=fault.__name__)


@pytest.mark.parametrize("fault", CAUGHT_BY, ids=lambda fault: fault.__name__)
async def test_the_suite_catches(fault: type[Telling], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named test fails on the faulty cache."""
    monkeypatch.setattr("storycore.testing.cache_push._PATIENCE_SECONDS", 0.05)
    found = await verdict(CacheSuite, CAUGHT_BY[fault], PortName.CACHE, adapter_of(fault), tmp_path)
    assert found is not None, f"{fault.__name__} passes {CAUGHT_BY[fault]}"


@pytest.mark.parametrize("test", sorted(set(CAUGHT_BY.values())))
async def test_a_faultless_cache_passes(test: str, tmp_path: Path) -> None:
    """What catches the faults does not fail on the harness that they are put into."""
    assert await verdict(CacheSuite, test, PortName.CACHE, adapter_of(Telling), tmp_path) is None
