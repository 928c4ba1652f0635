"""The state machine that drives several clients of a cache and the reference with one trace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, Lease
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["machine_for"]

_CLIENTS = st.integers(0, 1)
_KEY = st.sampled_from(["a:1", "b"])
_DISTINCT = st.sampled_from([["a:1"], ["b"], ["a:1", "b"], ["b", "a:1"]])
_NAMES = st.lists(st.sampled_from(["a:1", "t"]), max_size=3)
_SIZES = st.sampled_from([0, 1, 2, 40_000])
_TTLS = st.sampled_from([1, 2, 60]).map(lambda seconds: timedelta(seconds=seconds))
_SECOND = timedelta(seconds=1)

_Call: TypeAlias = Callable[[Cache], Coroutine[Any, Any, object]]

_LOOKS: Final[tuple[_Call, ...]] = (
    lambda store: store.get(["a:1"]),
    lambda store: store.get(["b", "a:1", "b"]),
    lambda store: store.keys(),
    lambda store: store.keys("a", limit=1),
    lambda store: store.keys(after="a:1", limit=1),
    lambda store: store.keys(limit=1),
)
_CHANGES: Final[tuple[Callable[[Cache, str], Coroutine[Any, Any, object]], ...]] = (
    lambda store, key: store.invalidate([key]),
    lambda store, key: store.invalidate(["b", key, "b"]),
    lambda store, key: store.clear(key[:2]),
    lambda store, key: store.clear(),
)
_REFUSED: Final[tuple[_Call, ...]] = (
    lambda store: store.get(["a", ""]),
    lambda store: store.acquire(["a", "a"], lease=_SECOND),
    lambda store: store.acquire(["a"], lease=timedelta(0)),
    lambda store: store.put([CacheItem("a", b"", _SECOND), CacheItem("a", b"", _SECOND)]),
    lambda store: store.touch(["a"], timedelta(0)),
    lambda store: store.keys(limit=0),
)


def machine_for(harness: Harness) -> type[CacheMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("CacheMachineRun", (CacheMachine,), {"origin": harness})


class CacheMachine(StoreMachine):
    """Leases correspond by the order in which they were given, counters by their distance from their start."""

    origin: ClassVar[Harness]

    @initialize()
    def begin(self) -> None:
        """Open two clients of an empty place where several may have it open, and the reference on the same clock."""
        self.harness = self.origin.fresh()
        self.clients: list[Cache] = [self.run(self.harness.started())]
        if self.clients[0].capabilities.guarantees.multi_process:
            self.clients.append(self.run(self.harness.started()))
        reference = Harness(PortName.CACHE, "memory", {}, self.harness.path, clock=self.harness.clock)
        self.model: Cache = self.run(reference.started())
        self.leases: list[tuple[Lease, Lease]] = []
        self.starts: dict[str, int] = {}

    @rule(client=_CLIENTS, look=st.sampled_from(range(len(_LOOKS))))
    def look(self, client: int, look: int) -> None:
        """The same values are read, and the same keys are listed on the same page."""
        self._agree(client, _LOOKS[look])

    @rule(client=_CLIENTS, keys=_DISTINCT, lease=_TTLS, refresh=st.booleans())
    def acquire(self, client: int, keys: list[str], lease: timedelta, refresh: bool) -> None:
        """The same keys are hits, ours to load, or held."""
        model = self.run(self.model.acquire(keys, lease=lease, refresh=refresh))
        subject = self.run(self._client(client).acquire(keys, lease=lease, refresh=refresh))
        assert _shape(model) == _shape(subject)
        pairs = zip(model, subject, strict=True)
        self.leases += [(m.lease, s.lease) for m, s in pairs if m.lease is not None and s.lease is not None]

    @precondition(lambda self: self.leases)
    @rule(client=_CLIENTS, pick=st.integers(0, 3), size=_SIZES, ttl=_TTLS, twice=st.booleans())
    def fill(self, client: int, pick: int, size: int, ttl: timedelta, twice: bool) -> None:
        """The same leases still live, whichever client uses them."""
        model, subject = self._lease(pick)
        times = 1 + twice
        expected = self.outcome(self.model.fill([Fill(model, bytes(size), ttl)] * times))
        assert expected == self.outcome(self._client(client).fill([Fill(subject, bytes(size), ttl)] * times))
        self._agree(client, lambda store: store.get([model.key]))

    @precondition(lambda self: self.leases)
    @rule(client=_CLIENTS, pick=st.integers(0, 3))
    def release(self, client: int, pick: int) -> None:
        """Giving leases back frees the same keys."""
        model, subject = self._lease(pick)
        self.run(self.model.release([model]))
        self.run(self._client(client).release([subject]))

    @rule(client=_CLIENTS, key=_KEY, size=_SIZES, ttl=_TTLS)
    def put(self, client: int, key: str, size: int, ttl: timedelta) -> None:
        """Storing at once kills the same leases."""
        self._agree(client, lambda store: store.put([CacheItem(key, bytes(size), ttl)]))

    @rule(client=_CLIENTS, change=st.sampled_from(range(len(_CHANGES))), key=_KEY)
    def remove(self, client: int, change: int, key: str) -> None:
        """The same number of values goes, and the same leases die."""
        self._agree(client, lambda store: _CHANGES[change](store, key))

    @rule(client=_CLIENTS, key=_KEY, ttl=_TTLS)
    def touch(self, client: int, key: str, ttl: timedelta) -> None:
        """The same values get a new ttl."""
        self._agree(client, lambda store: store.touch([key, key], ttl))

    @rule(client=_CLIENTS, names=_NAMES, bump=st.booleans())
    def count(self, client: int, names: list[str], bump: bool) -> None:
        """Counters are as far from their start as the reference's."""
        expected = self.run(self.model.bump(names) if bump else self.model.counters(names))
        store = self._client(client)
        actual = self.run(store.bump(names) if bump else store.counters(names))
        for name, model, subject in zip(names, expected, actual, strict=True):
            assert self.starts.setdefault(name, subject - model) == subject - model

    @rule(client=_CLIENTS, call=st.sampled_from(range(len(_REFUSED))))
    def refuse(self, client: int, call: int) -> None:
        """What one refuses, the other refuses with the same class of error."""
        self._agree(client, _REFUSED[call])

    @rule(seconds=st.sampled_from([0.5, 1, 1, 2, 60]))
    def advance(self, seconds: float) -> None:
        """Time passes for both."""
        self.harness.clock.advance(seconds)

    def teardown(self) -> None:
        """Close all clients."""
        if hasattr(self, "model"):
            for store in [*self.clients, self.model]:
                self.run(store.close())
        super().teardown()

    def _client(self, number: int) -> Cache:
        return self.clients[number % len(self.clients)]

    def _lease(self, pick: int) -> tuple[Lease, Lease]:
        """One of the last leases: the reference's and the subject's."""
        return self.leases[-1 - pick % min(len(self.leases), 4)]

    def _agree(self, client: int, call: _Call) -> None:
        assert self.outcome(call(self.model)) == self.outcome(call(self._client(client)))


def _shape(found: Sequence[Acquired]) -> list[object]:
    """An acquisition without its tokens, which every adapter makes in its own way."""
    return [(got.value, None if got.lease is None else got.lease.key) for got in found]
