"""The state machine that drives several clients of a cache and the reference with one trace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, Lease
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["machine_for"]

_CLIENTS = st.integers(0, 1)
_KEYS = st.sampled_from(["a", "a:1", "a:2", "b", "é", "\U0001f600", ""])
_MANY_KEYS = st.lists(_KEYS, max_size=4)
_NAMES = st.lists(st.sampled_from(["a", "t1", "t2"]), max_size=3)
_SIZES = st.sampled_from([0, 1, 2, 40_000])
_TTLS = st.sampled_from([0, 1, 5, 60]).map(lambda seconds: timedelta(seconds=seconds))
_ITEMS = st.lists(st.tuples(_KEYS, _SIZES, _TTLS), max_size=3)


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

    @rule(client=_CLIENTS, keys=_MANY_KEYS)
    def get(self, client: int, keys: list[str]) -> None:
        """The same values are live."""
        self._agree(client, "get", keys)

    @rule(client=_CLIENTS, keys=_MANY_KEYS, lease=_TTLS, refresh=st.booleans())
    def acquire(self, client: int, keys: list[str], lease: timedelta, refresh: bool) -> None:
        """The same keys are hits, ours to load, or held."""
        model, subject = self._both(client, "acquire", keys, lease=lease, refresh=refresh)
        assert _shape(model) == _shape(subject)
        if isinstance(model, list) and isinstance(subject, list):
            self.leases += [(m.lease, s.lease) for m, s in zip(model, subject, strict=True) if m.lease is not None]

    @rule(client=_CLIENTS, picks=st.lists(st.integers(0, 20), max_size=3), size=_SIZES, ttl=_TTLS)
    def fill(self, client: int, picks: list[int], size: int, ttl: timedelta) -> None:
        """The same leases still live, whichever client uses them."""
        leases, value = self._picked(picks), bytes(size)
        model = self.outcome(self.model.fill([Fill(lease, value, ttl) for lease, _ in leases]))
        subject = self.outcome(self._client(client).fill([Fill(lease, value, ttl) for _, lease in leases]))
        assert model == subject

    @rule(client=_CLIENTS, picks=st.lists(st.integers(0, 20), max_size=2))
    def release(self, client: int, picks: list[int]) -> None:
        """Giving leases back frees the same keys."""
        leases = self._picked(picks)
        model = self.outcome(self.model.release([lease for lease, _ in leases]))
        assert model == self.outcome(self._client(client).release([lease for _, lease in leases]))

    @rule(client=_CLIENTS, items=_ITEMS)
    def put(self, client: int, items: list[tuple[str, int, timedelta]]) -> None:
        """Storing at once kills the same leases."""
        self._agree(client, "put", [CacheItem(key, bytes(size), ttl) for key, size, ttl in items])

    @rule(client=_CLIENTS, keys=_MANY_KEYS)
    def invalidate(self, client: int, keys: list[str]) -> None:
        """The same number of values goes."""
        self._agree(client, "invalidate", keys)

    @rule(client=_CLIENTS, keys=_MANY_KEYS, ttl=_TTLS)
    def touch(self, client: int, keys: list[str], ttl: timedelta) -> None:
        """The same values get a new ttl."""
        self._agree(client, "touch", keys, ttl)

    @rule(client=_CLIENTS, names=_NAMES, bump=st.booleans())
    def count(self, client: int, names: list[str], bump: bool) -> None:
        """Counters are as far from their start as the reference's."""
        model, subject = self._both(client, "bump" if bump else "counters", names)
        assert isinstance(model, list)
        assert isinstance(subject, list)
        for name, expected, actual in zip(names, model, subject, strict=True):
            assert self.starts.setdefault(name, actual - expected) == actual - expected

    @rule(
        client=_CLIENTS, prefix=st.sampled_from(["", "a", "a:", "é"]), after=st.none() | _KEYS, limit=st.integers(0, 3)
    )
    def keys(self, client: int, prefix: str, after: str | None, limit: int) -> None:
        """The same keys are listed on the same page."""
        self._agree(client, "keys", prefix, after=after, limit=limit)

    @rule(client=_CLIENTS, prefix=st.sampled_from(["", "a:", "b"]))
    def clear(self, client: int, prefix: str) -> None:
        """The same number of values goes, and the same leases die."""
        self._agree(client, "clear", prefix)

    @rule(seconds=st.sampled_from([0.5, 1, 4, 60]))
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

    def _picked(self, picks: list[int]) -> list[tuple[Lease, Lease]]:
        return [self.leases[-1 - pick % len(self.leases)] for pick in picks] if self.leases else []

    def _both(self, client: int, name: str, *args: Any, **kwargs: Any) -> tuple[object, object]:  # any call of the port
        model = self.outcome(getattr(self.model, name)(*args, **kwargs))
        return model, self.outcome(getattr(self._client(client), name)(*args, **kwargs))

    def _agree(self, client: int, name: str, *args: Any, **kwargs: Any) -> None:  # any call of the port
        model, subject = self._both(client, name, *args, **kwargs)
        assert model == subject


def _shape(outcome: object) -> object:
    """An acquisition without its tokens, which every adapter makes in its own way."""
    if not isinstance(outcome, list):
        return outcome
    found: list[Acquired] = outcome
    return [(got.value, None if got.lease is None else got.lease.key) for got in found]
