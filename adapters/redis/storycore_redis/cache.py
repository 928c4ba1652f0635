"""The Cache port on Redis or Valkey: values and leases in pairs of keys, each step one command or one script."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any, NoReturn

from storycore.errors import StorycoreError, Unavailable
from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities, Guarantees, Support
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore_redis._connection import Command, Late
from storycore_redis._envelope import HEADER_BYTES, header, is_live, milliseconds, one_opened, opened, stamp
from storycore_redis._errors import FAILURES, translated
from storycore_redis._link import Link, SingleLink
from storycore_redis._names import Names
from storycore_redis._scripts import ACQUIRE, BUMP, FILL, INVALIDATE, PUT, RELEASE, TOUCH, Script
from storycore_redis._telling import Telling
from storycore_redis.config import RedisConfig

__all__ = ["RedisCache", "open_cache"]

_START_AT_MOST = 2**62


def open_cache(config: RedisConfig, env: Environment) -> Cache:
    """Make the cache, not yet open."""
    telling = Telling(Names(config.namespace))
    if config.cluster:
        from storycore_redis._cluster import ClusterLink  # redis-py, which nothing else needs

        return RedisCache(config, env, ClusterLink(config), telling)
    return RedisCache(config, env, SingleLink(config, env.random, telling.heard), telling)


class RedisCache(Lifecycle):
    """A value and its lease are two keys of one slot; what must be one step is a script.

    When a value or lease ends is written in it, by storycore's clock. The server's own expiry is later and only frees
    memory.
    """

    def __init__(self, config: RedisConfig, env: Environment, link: Link, telling: Telling) -> None:
        self._config = config
        self._env = env
        self._link = link
        self._telling = telling
        self._names = Names(config.namespace)
        self._owner = os.getpid()

    @property
    def info(self) -> AdapterInfo:
        """The server's address."""
        return AdapterInfo("redis", version("storycore-redis"), self._config.place)

    @property
    def capabilities(self) -> Capabilities:
        """Everybody may share the server; a single one, not a cluster, tells what others change."""
        features = {} if self._config.cluster else {"cache.push": Support.NATIVE}
        return Capabilities(features, guarantees=Guarantees(multi_process=True))

    async def open(self) -> None:
        """Connect and log in."""
        if self._opened:
            return
        try:
            await self._link.open()
        except FAILURES as exc:
            raise translated(exc, self._config.place, writes=False) from exc
        except BaseException:  # cancelled: the attempt goes on unless it is ended
            await self._link.close()
            raise
        self._owner = os.getpid()
        self._natives = (self._link,)
        self._opened = True

    async def health(self, *, deep: bool = False) -> Health:
        """One round trip; ``deep`` also counts the keys of the namespace, which reads all names of the server."""
        if not self._opened:
            return Health(ok=False, detail=f"The {self._config.place} is not open; call open().")
        started = time.perf_counter()
        facts: dict[str, str | int | float | bool] = {}
        try:
            await self._call(("PING",), writes=False)
            latency = (time.perf_counter() - started) * 1000
            if deep:
                facts["values"] = len(await self._scanned(self._names.pattern("")))
        except StorycoreError as exc:
            return Health(ok=False, detail=exc.message, latency_ms=(time.perf_counter() - started) * 1000)
        return Health(ok=True, latency_ms=latency, facts=facts)

    async def close(self) -> None:
        """End the connection; in a forked child, whose parent still uses it, touch nothing."""
        if self._opened and os.getpid() == self._owner:
            await super().close()
            await self._link.close()
        self._natives = ()

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values, by one plain GET or MGET."""
        self._require_open()
        if len(keys) != 1:
            return opened(await self._read(self._names.values(keys)), self._now())
        try:
            data = await self._link.call(("GET", self._names.value(keys[0])))
        except FAILURES as exc:
            self._fail(exc, writes=False)
        return [one_opened(data, stamp(self._env.clock.now()))]

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """A value, a lease, or neither, per key."""
        now = self._now()
        until, lives = now + lease // timedelta(microseconds=1), self._kept_ms(lease)
        tokens = [self._env.new_id() for _ in keys]
        answers = await self._tried(
            ACQUIRE,
            [self._names.both(key) for key in keys],
            [(now, b"%016d%s" % (until, token.encode()), lives, int(refresh)) for token in tokens],
        )
        got: list[Acquired] = []
        failures: list[BaseException] = []
        for key, token, answer in zip(keys, tokens, answers, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
                if isinstance(answer, Late):  # it may be granted all the same
                    got.append(Acquired(lease=Lease(key, token)))
            else:
                data, granted = answer
                value = None if data is None else data[HEADER_BYTES:]
                got.append(Acquired(value, Lease(key, token) if granted else None))
        if failures:
            await self._give_back(got)
            self._fail(failures[0], writes=True)
        return got

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store under leases that still live."""
        now = self._now()
        args: list[Command] = [
            (now, fill.lease.token, self._sealed(fill.value, now, fill.ttl), self._kept_ms(fill.ttl)) for fill in fills
        ]
        accepted = await self._run(FILL, [self._names.both(fill.lease.key) for fill in fills], args)
        return [answer == 1 for answer in accepted]

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        await self._run(RELEASE, [self._names.both(lease.key) for lease in leases], [(one.token,) for one in leases])

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store at once and kill the leases."""
        now = self._now()
        args = [(self._sealed(item.value, now, item.ttl), self._kept_ms(item.ttl)) for item in items]
        await self._run(PUT, [self._names.both(item.key) for item in items], args)

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases."""
        now = header(self._now())
        heads = await self._run(INVALIDATE, [self._names.both(key) for key in keys], [()] * len(keys))
        return sum(is_live(head, now) for head in heads)

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give live values a new time to live."""
        now = self._now()
        args: Command = (now, self._sealed(b"", now, ttl), self._kept_ms(ttl))
        touched = await self._run(TOUCH, [(self._names.value(key),) for key in keys], [args] * len(keys))
        return [answer == 1 for answer in touched]

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The counters' values; a missing one starts at random and is stored."""
        self._require_open()
        placed = [self._names.counter(name) for name in names]
        found = await self._read(placed)
        missing = dict.fromkeys(name for name, value in zip(placed, found, strict=True) if value is None)
        if missing:
            await self._all([("SET", name, self._start(), "NX") for name in missing], writes=True)
            found = await self._read(placed)
        return [self._start() if value is None else int(value) for value in found]  # evicted between the two

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each counter."""
        places = [(self._names.counter(name),) for name in names]
        return [int(answer) for answer in await self._run(BUMP, places, [(self._start(),) for _ in names])]

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """Keys of live values, ascending; reads all names of the server for each page."""
        self._require_open()
        found = await self._scanned(self._names.pattern(prefix))
        wanted = sorted(key for key in found if key.startswith(prefix) and (after is None or key > after))
        page: list[str] = []
        for start in range(0, len(wanted), limit + 1):
            page += await self._live_ones(wanted[start : start + limit + 1])
            if len(page) > limit:
                return KeyPage(page[:limit], next=page[limit - 1])
        return KeyPage(page)

    async def clear(self, prefix: str = "") -> int:
        """Remove values and kill leases under a prefix; reads all names of the server twice.

        A fill during the first reading can turn a lease that was not met yet into a value whose place was passed
        already; it is there all through the second reading, which meets it.
        """
        self._require_open()
        count = 0
        for leases in (True, False):
            keys = sorted(await self._scanned(self._names.pattern(prefix, leases=leases)))
            count += await self.invalidate([key for key in keys if key.startswith(prefix)])
        return count

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of what others change, by the server's tracking of what this connection reads."""
        self._require_open()
        end = self._telling.add(listener)
        try:
            await self._link.track()
        except BaseException as exc:  # cancelled: nobody could end it
            end()
            self._fail(exc, writes=False)
        return end

    async def _live_ones(self, keys: Sequence[str]) -> list[str]:
        now = header(self._now())
        heads = await self._all([("GETRANGE", self._names.value(key), 0, HEADER_BYTES - 1) for key in keys])
        return [key for key, head in zip(keys, heads, strict=True) if is_live(head, now)]

    async def _scanned(self, pattern: str) -> set[str]:
        found: set[str] = set()
        try:
            async for names in self._link.scan(pattern):
                found |= self._names.keys(names)
        except FAILURES as exc:
            self._fail(exc, writes=False)
        return found

    async def _give_back(self, got: Sequence[Acquired]) -> None:
        leases = [one.lease for one in got if one.lease is not None]
        await self._tried(RELEASE, [self._names.both(one.key) for one in leases], [(one.token,) for one in leases])

    async def _read(self, names: Sequence[str]) -> list[bytes | None]:
        try:
            if len(names) == 1:
                return [await self._link.call(("GET", names[0]))]
            return await self._link.get(names) if names else []
        except FAILURES as exc:
            self._fail(exc, writes=False)

    async def _call(self, command: Command, *, writes: bool) -> Any:  # as the server answers
        try:
            return await self._link.call(command)
        except FAILURES as exc:
            self._fail(exc, writes=writes)

    async def _all(self, commands: Sequence[Command], *, writes: bool = False) -> list[Any]:  # as the server answers
        try:
            return self._none_failed(await self._link.calls(commands), writes=writes)
        except FAILURES as exc:
            self._fail(exc, writes=writes)

    async def _run(
        self, script: Script, keys: Sequence[Sequence[str]], args: Sequence[Command]
    ) -> list[Any]:  # as the script answers
        return self._none_failed(await self._tried(script, keys, args), writes=True)

    async def _tried(
        self, script: Script, keys: Sequence[Sequence[str]], args: Sequence[Command]
    ) -> list[Any]:  # an answer or a failure in each place
        self._require_open()
        try:
            return await self._link.run(script, keys, args)
        except FAILURES as exc:
            self._fail(exc, writes=True)

    def _none_failed(self, answers: list[Any], *, writes: bool) -> list[Any]:  # as the server answers
        for answer in answers:
            if isinstance(answer, BaseException):
                self._fail(answer, writes=writes)
        return answers

    def _fail(self, failure: BaseException, *, writes: bool) -> NoReturn:
        if not isinstance(failure, FAILURES):
            raise failure
        raise translated(failure, self._config.place, writes=writes) from failure

    def _now(self) -> int:
        return stamp(self._env.clock.now())

    def _sealed(self, value: bytes, now: int, ttl: timedelta) -> bytes:
        return header(now + ttl // timedelta(microseconds=1)) + value

    def _kept_ms(self, duration: timedelta) -> int:
        return milliseconds(duration) + self._config.grace_seconds * 1000

    def _start(self) -> int:
        return self._env.random.randint(1, _START_AT_MOST)

    def _require_open(self) -> None:
        if self._opened and os.getpid() == self._owner:
            return
        super()._require_open()
        raise Unavailable(
            f"The connection to {self._config.place} was opened before this process was forked; "
            "open a store of its own in each process."
        )
