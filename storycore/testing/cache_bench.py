"""The bench on which the stacks are tried: clients of one cache, what happens to them, and what holds in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from storycore.caching.envelope import Envelope
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.environment import Environment
from storycore.testing.cache_clients import KEYS, LEASE, Client, How, Source, value_of
from storycore.testing.cache_wires import LeaseBook, Trouble, Wire
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine
from storycore.testing.virtual_time import LoopClock, VirtualLoop

__all__ = ["CLIENTS", "StackBench"]

_REST_SECONDS: Final = 60.0
"""Longer than any lease, load, pause or copy."""

_OPTIONS: Final[Sequence[dict[str, Any]]] = ({"l1_max_bytes": 4096}, {"l1_max_bytes": 400}, {"l1_ttl": 0})
"""The first client is told of changes, the second keeps one copy for a short time, the third keeps none."""
CLIENTS: Final = len(_OPTIONS)


class StackBench(StoreMachine):
    """Three clients with a wire each, one cache, one source; ``StackMachine`` adds the rules."""

    origin: ClassVar[Harness]
    new_loop: ClassVar[type[asyncio.AbstractEventLoop] | None] = VirtualLoop
    policy: dict[str, Any]
    luck: random.Random

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.place = self.origin.fresh()
        self.place.clock = clock = LoopClock(loop)
        self.book = LeaseBook(clock)
        self.wires: list[Wire] = []
        self.seen = {f"default:n:{k}" for k in KEYS}
        self.source = Source(loop, self.wires, self.book)
        self.writes = self.puts = 0
        self.disturbed = -1e9
        with loop.errand():
            first: Cache = await self.place.started()
            shared = first.capabilities.guarantees.multi_process
            self.ports = [first, *[await self.place.started() for _ in _OPTIONS[1:] if shared]]
        self.clients = [self._client(number) for number in range(len(_OPTIONS))]

    def _client(self, number: int) -> Client:
        loop = self.source.loop
        port = self.ports[number % len(self.ports)]
        luck = random.Random(self.luck.random())
        wire = Wire(port, loop, luck, self.book, self.wires, self.seen, tells=number == 0)
        env = Environment(clock=self.book.clock, random=random.Random(self.luck.random()))
        return Client(wire, self.source, loop, env, dict(_OPTIONS[number]), self.policy)

    async def _write(self, writer: Client, k: int, how: str) -> None:
        """Change the source, then invalidate; a confirmed invalidation binds all, another this client alone."""
        self.writes += 1
        self.puts += how == "put"
        try:
            await self._write_and_bind(writer, k, how)
        finally:
            self.writes -= 1
            self.puts -= how == "put"

    async def _write_and_bind(self, writer: Client, k: int, how: str) -> None:
        if how == "writing":
            version, confirmed = await self._write_through(writer, k)
        else:
            version = self._change(k)
            confirmed = await self._tell(writer, k, version, how)
        writer.bind(k, version)
        while not confirmed and writer.is_alive:
            await asyncio.sleep(0.05)
            confirmed = writer.caching.stats().pending_invalidations == 0
        for other in self.clients:
            if other is not writer and writer.is_alive:
                other.bind_as_other(k, version)

    async def _write_through(self, writer: Client, k: int) -> tuple[int, bool]:
        """Change the source and put the value after a while, in which others may write."""
        async with writer.region.writing(k=k) as writing:
            version = self._change(k)
            await asyncio.sleep(self.luck.choice((0, 0.002, 0.02, 0.2)))
            self.source.arrived[k, version] = self.source.loop.time() + 1
            writing.put(value_of(k, version))
        return version, writing.confirmed

    def _change(self, k: int) -> int:
        self.source.versions[k] += 1
        return self.source.versions[k]

    async def _tell(self, writer: Client, k: int, version: int, how: str) -> bool:
        """Whether it is confirmed."""
        if how == "put":
            self.source.arrived[k, version] = self.source.loop.time() + 1
            return await writer.region.put(value_of(k, version), k=k)
        if how == "tag" and self.policy["tags"]:
            return await writer.caching.invalidate_tags("all")
        if how == "all":
            return await writer.caching.clear()
        return await writer.region.invalidate(k=k)

    async def _crash(self, number: int) -> None:
        self.source.stir()
        self.disturbed = self.source.loop.time()
        client = self.clients[number]
        client.is_alive = False
        tasks = [*client.calls, *[read.task for read in client.reads]]
        await client.wire.end()
        for task in tasks:
            task.cancel()
        await client.caching.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        fresh = self._client(number)
        self.clients[number] = fresh

    async def _tamper(self, k: int, how: str) -> None:
        if how == "all gone":
            await self._replace(sorted(self.seen), self.ports[0].clear())
            return
        key, other = (f"default:n:{one}" for one in (k, 1 - k))
        (data,), (moved,) = await self._errand(self.ports[0].get([key])), await self._errand(self.ports[0].get([other]))
        forged = Envelope(schema=b"another.", stored_at=0, fresh_until=2**50, payload=b"77").seal(key)
        bytes_of = {"foreign": b"\x80\x04N.", "empty": b"", "of another shape": forged, "moved": moved}
        found = bytes_of.get(how, data)
        if found is None:
            return
        if how == "altered":
            found = found[:20] + bytes([found[20] ^ 1]) + found[21:] if len(found) > 20 else b"?"
        elif how == "cut":
            found = found[: len(found) // 2]
        await self._replace([key], self.ports[0].put([CacheItem(key, found, timedelta(minutes=5))]))

    async def _look_for_leases(self) -> None:
        """P13: while nobody reads, nobody has a lease."""
        await asyncio.sleep(0.1)
        now = self.source.loop.time()
        troubled = max(self.disturbed, *(client.wire.last_trouble for client in self.clients))
        left = self.book.left(self.book.clock.now() - timedelta(seconds=now - troubled - 1e-6))
        assert not left or not self._is_calm(), f"P13: nobody reads, and leases live on {left}"

    async def _stall(self, reader: Client, k: int) -> None:
        """P13: a cache that answers nothing any more holds no reader up."""
        await asyncio.wait([reader.begin_read(k, How.QUICK)])
        reader.caching.clear_l1()
        reader.wire.troubles.extend([Trouble.LOST] * 12)
        reader.begin_read(k, How.QUICK)
        await asyncio.sleep(1)
        assert not reader.reads, "P13: a reader waits for a cache that is silent"
        reader.wire.troubles.clear()

    async def _stampede(self, k: int) -> None:
        """P4: when all read at once what was just invalidated, one load serves them."""
        await self.clients[0].region.invalidate(k=k)
        before = self.source.loads
        tasks = [client.begin_read(k, How.LATER) for client in self.clients for _ in range(2)]
        await asyncio.wait(tasks)
        assert self.source.loads - before == 1, f"P4: {self.source.loads - before} loads for one key"
        assert len({task.result() for task in tasks[:2]}) == 1

    async def _rest(self) -> None:
        """Let all wires work and all time pass; P1, P7 and P13."""
        for client in self.clients:
            wire = client.wire
            wire.there = wire.back = wire.late = 0.0
            wire.is_down = False
            wire.troubles.clear()
        await asyncio.sleep(_REST_SECONDS)
        for client in self.clients:
            assert client.is_idle, "P13: somebody still waits"
            pending = client.caching.stats().pending_invalidations
            assert pending == 0, f"P7: {pending} invalidations are pending a minute after the cache has healed"
        for k in KEYS:
            found = [await client.region.get_or_load(k=k, load=self._newest) for client in self.clients]
            assert len(set(found)) == 1, f"P1: at rest the clients read {found}"
            await self.clients[0].region.invalidate(k=k)

    async def _newest(self, k: int) -> Any:
        return await self.source.load(k, How.QUICK)

    async def _end(self) -> None:
        for client in self.clients:
            client.is_alive = False
            for task in [*client.calls, *[read.task for read in client.reads]]:
                task.cancel()
            await client.caching.close()
        for client in self.clients:
            await client.wire.end()
        for port in self.ports:
            await self._errand(port.close())

    async def _replace(self, keys: Sequence[str], call: Any) -> None:
        """Do what kills leases behind the clients' backs."""
        self.source.stir()
        self.book.ended(keys)
        await self._errand(call)
        self.book.ended(keys)

    async def _errand(self, call: Any) -> Any:
        with self.source.loop.errand():
            return await call

    def _sever(self, number: int, *, is_down: bool) -> None:
        """Cut a wire for a while, or join it again."""
        wire = self.clients[number].wire
        wire.is_down = is_down
        self._in_loop(wire.cut)

    def _in_loop(self, act: Callable[[], object]) -> None:
        async def run() -> None:
            act()

        self.run(run())

    def _is_calm(self) -> bool:
        now = self.source.loop.time()
        return (
            all(
                client.is_idle
                and client.wire.last_trouble + LEASE < now
                and not client.wire.troubles
                and not client.wire.is_down
                and client.wire.there + client.wire.back < 0.02
                and client.caching.stats().pending_invalidations == 0
                and client.caching.stats().breaker == "closed"
                for client in self.clients
            )
            and not self.source.under_way
        )
