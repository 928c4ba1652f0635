"""The whole cache over an adapter: clients that read, write, fail and meet faults, in any order, on virtual time.

What is held, by its number:

- P1: at rest no tier holds what is older than the last invalidation.
- P2: a read gives nothing older than an invalidation that had returned before it began; a copy in another client's
  memory may lag until the change is told to it, or for as long as its short life.
- P3: of each key at most one lease lives.
- P4: while the tier is sound, readers of all clients load once.
- P5: nobody joins a load that an invalidation has overtaken.
- P6: the bump of a tag during a load outdates what is loaded.
- P7: once the tier is sound again and what was pending is delivered, all clients agree.
- P8: "there is nothing", errors and falsy values are told apart from misses.
- P9: memory never holds more bytes than its bound.
- P10: an older value stands in for ``max_stale`` and no longer, and never after an invalidation.
- P12: bytes that were cut, altered, moved or written for another shape are a miss.
- P13: a cancelled caller leaves no lease behind, and nobody waits for ever.

P11, that sync functions give the same as async ones, is held where functions are tested.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from storycore.caching.envelope import Envelope
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.environment import Environment
from storycore.testing.cache_clients import KEYS, LEASE, Client, How, Source, value_of
from storycore.testing.cache_wires import LeaseBook, Trouble, Wire
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine, run_machine
from storycore.testing.virtual_time import LoopClock, VirtualLoop

__all__ = ["CacheStacks", "StackMachine", "stack_machine_for"]

_EXAMPLES: Final = 40
_STEPS: Final = 25
_REST_SECONDS: Final = 60.0
"""Longer than any lease, load, pause or copy."""

_OPTIONS: Final[Sequence[dict[str, Any]]] = ({"l1_max_bytes": 4096}, {"l1_max_bytes": 400}, {"l1_ttl": 0})
"""The first client is told of changes, the second keeps one copy for a short time, the third keeps none."""

_CLIENT: Final = st.integers(0, len(_OPTIONS) - 1)
_KEY: Final = st.sampled_from(KEYS)
_OTHER: Final = st.integers(0, len(_OPTIONS) - 1)
_SHORT: Final = 0.01
_DELAY: Final = st.sampled_from([0.0, 0.004, _SHORT, 0.1])
_HARM: Final = st.sampled_from(["cut", "altered", "foreign", "moved", "of another shape", "empty", "all gone"])
_LOAD: Final = st.sampled_from(How)
_WRITE: Final = st.sampled_from(["key", "tag", "all", "put"])
_PAUSE: Final = st.sampled_from([0, 2, 4, 8, 0.002, 0.01, 0.03, 0.2])
"""Turns of the loop, or seconds."""
_PAUSES: Final = st.tuples(_PAUSE, _PAUSE)
_TROUBLE: Final = st.sampled_from([None, None, None, *Trouble])
_AGE: Final = st.sampled_from([11.0, 21.0, 21.0, 31.0])
_NEXT: Final = st.sampled_from([How.QUICK, How.LATER, How.HANGS, How.FAILS, How.FAILS])
_POLICIES: Final = st.fixed_dictionaries(
    {
        "max_stale": st.sampled_from([None, 10]),
        "soft_timeout": st.sampled_from([None, 0.3]),
        "refresh_at": st.sampled_from([None, 0.5]),
        "tags": st.sampled_from([("all",), ("all", "t:{k}"), ()]),
    }
)


class CacheStacks:
    """Tests of ``storycore.caching`` over the adapter."""

    @pytest.mark.asyncio
    async def test_a_stack_of_clients_keeps_its_promises(self, harness: Harness) -> None:
        """Whatever clients, wires and sources do, P1 to P10, P12 and P13 hold."""
        machine = stack_machine_for(harness)
        await run_machine(machine, examples=harness.fitting(None, _EXAMPLES), steps=_STEPS)


def stack_machine_for(harness: Harness) -> type[StackMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("StackMachineRun", (StackMachine,), {"origin": harness})


class StackMachine(StoreMachine):
    """Three clients with a wire each, one cache, one source."""

    origin: ClassVar[Harness]
    new_loop: ClassVar[type[asyncio.AbstractEventLoop] | None] = VirtualLoop

    @initialize(policy=_POLICIES, luck=st.integers(0, 2**16), is_stormy=st.booleans())
    def begin(self, policy: dict[str, Any], luck: int, is_stormy: bool) -> None:
        """Open the cache for each client; in half of all histories wires are sound."""
        self.is_stormy = is_stormy
        self.policy = policy
        self.luck = random.Random(luck)
        self.run(self._begin())

    @rule(client=_CLIENT, k=_KEY, how=_LOAD, times=st.integers(0, 2), turns=st.integers(0, 12))
    def read(self, client: int, k: int, how: How, times: int, turns: int) -> None:
        """A reader comes, or two at once, or one of all keys, and time goes on for a few turns of the loop."""
        if not times:
            self._in_loop(self.clients[client].begin_read_all)
        for _ in range(times):
            self._in_loop(lambda: self.clients[client].begin_read(k, how))
        self.run(_turns(turns))

    @rule(client=_CLIENT, k=_KEY, how=_WRITE, turns=st.integers(0, 12))
    def write(self, client: int, k: int, how: str, turns: int) -> None:
        """The source changes, and the cache is told; P2, P5 and P6 bind those who read after that.

        Who puts a value has to know that it is the newest, so nobody else writes meanwhile.
        """
        writer = self.clients[client]
        if self.puts or (how == "put" and self.writes):
            return
        self._in_loop(lambda: writer.begin(self._write(writer, k, how)))
        self.run(_turns(turns))

    @rule(reader=_CLIENT, others=_OTHER, k=_KEY, how=_WRITE, load=_LOAD, pauses=_PAUSES, is_cut=st.booleans())
    def overtake(
        self, reader: int, others: int, k: int, how: str, load: How, pauses: tuple[float, float], is_cut: bool
    ) -> None:
        """A load is overtaken by a write, and somebody reads after that; in a storm, perhaps without the cache."""
        writer = (reader + others) % len(self.clients)
        if is_cut and self.is_stormy:
            self._sever(reader, is_down=True)
        if load is How.QUICK:  # which then finds what another client has loaded
            self._in_loop(lambda: self.clients[reader - 1].begin_read(k, load))
            self.run(asyncio.sleep(0.03))
            self.clients[reader].caching.clear_l1()
        self._in_loop(lambda: self.clients[reader].begin_read(k, load))
        self.run(_pause(pauses[0]))
        self.write(writer, k, how, 0)
        self.run(_pause(pauses[1]))
        for client in (self.clients[reader], self.clients[writer]):
            self._in_loop(lambda client=client: client.begin_read(k, How.QUICK))  # type: ignore[misc]

    @rule(client=_CLIENT, k=_KEY, seconds=_AGE, how=_NEXT, others=_OTHER)
    def outlive(self, client: int, k: int, seconds: float, how: How, others: int) -> None:
        """A value is due, ends, or has ended long ago; its next load goes in some way, and may be overtaken."""
        reader = self.clients[client]
        self._in_loop(lambda: reader.begin_read(k, How.QUICK))
        self.run(asyncio.sleep(seconds))
        self._in_loop(lambda: reader.begin_read(k, how))
        self.run(asyncio.sleep(0.01))
        if others:
            self.write((client + others) % len(self.clients), k, "key", 8)
        self._in_loop(lambda: reader.begin_read(k, how))
        self.run(asyncio.sleep(0.4))

    @rule(client=_CLIENT, number=st.integers(0, 3))
    def cancel(self, client: int, number: int) -> None:
        """A reader leaves."""
        reads = self.clients[client].reads
        if reads:
            self._in_loop(reads[number % len(reads)].task.cancel)

    @rule(seconds=st.sampled_from([0.0, 0.004, 0.02, 0.06, 0.5, 2.6, 6.0, 11.0, 21.0]))
    def wait(self, seconds: float) -> None:
        """Time passes: loads end, leases, copies and values too."""
        self.run(asyncio.sleep(seconds))

    @rule(client=_CLIENT, there=_DELAY, back=_DELAY, late=st.sampled_from([0.0, 0.01, 1.0]))
    def slow_down(self, client: int, there: float, back: float, late: float) -> None:
        """A wire takes its time, in a storm also more than a caller has; and changes are told late."""
        wire = self.clients[client].wire
        if not self.is_stormy:
            there, back = min(there, _SHORT), min(back, _SHORT)
        wire.there, wire.back = there, back
        self.clients[0].wire.late = late

    @precondition(lambda self: self.is_stormy)
    @rule(client=_CLIENT, troubles=st.lists(st.sampled_from(Trouble), max_size=6), is_down=st.booleans())
    def trouble(self, client: int, troubles: list[Trouble], is_down: bool) -> None:
        """The coming calls of a client fail, in one way or another; without any, its wire is cut, or joined again."""
        if troubles:
            self.clients[client].wire.troubles.extend(troubles)
        else:
            self._sever(client, is_down=is_down)

    @rule(reader=_CLIENT, writer=_CLIENT, k=_KEY, how=_WRITE, trouble=_TROUBLE, seconds=st.sampled_from([0, 0, 6, 12]))
    def tell(self, reader: int, writer: int, k: int, how: str, trouble: Trouble | None, seconds: float) -> None:
        """A value outdates; in a storm it is told badly, and who has a copy may have lost the connection before."""
        clients = (self.clients[reader], self.clients[writer])
        for each in (1 - k, k):
            self._in_loop(lambda each=each: clients[0].begin_read(each, How.QUICK))  # type: ignore[misc]
            self.run(asyncio.sleep(0.03))
        if self.is_stormy:
            self._sever(reader, is_down=trouble is None)
            clients[1].wire.troubles.extend([trouble] if trouble else [])
        self.write(writer, k, how, 8)
        if self.is_stormy:
            self._sever(reader, is_down=False)
        self.run(asyncio.sleep(seconds))
        for client in clients:
            self._in_loop(lambda client=client: client.begin_read(k, How.QUICK))  # type: ignore[misc]

    @precondition(lambda self: self.is_stormy)
    @rule(client=_CLIENT)
    def crash(self, client: int) -> None:
        """A process dies with all that it was doing, and another one takes its place."""
        self.run(self._crash(client))

    @rule(client=_CLIENT, k=_KEY, how=_HARM)
    def tamper(self, client: int, k: int, how: str) -> None:
        """Somebody writes other bytes under a key, or removes everything; P12: nobody reads them as a value."""
        self.run(self._tamper(k, how))
        self.clients[client].caching.clear_l1()
        self._in_loop(lambda: self.clients[client].begin_read(k, How.QUICK))

    @precondition(lambda self: self._is_calm())
    @rule(client=_CLIENT, k=_KEY)
    def look_closely(self, client: int, k: int) -> None:
        """While all is calm, what else may be late or wasted has to be right: P4 and P13."""
        self.run(self._look_for_leases())
        if self._is_calm():
            self.run(self._stampede(k))
        if self._is_calm():
            self.run(self._stall(self.clients[client], k))

    @invariant()
    def judge(self) -> None:
        """What the clients and the wires have seen is as it should be; P3 and P9 are seen here."""
        if hasattr(self, "clients"):
            for client in self.clients:
                client.note_outage()
                client.look_over()
                assert not client.problems, "; ".join(client.problems)
            assert self.book.clash == "", f"P3: {self.book.clash}"

    def teardown(self) -> None:
        """Heal, come to rest, and see that all agree; then close everything."""
        try:
            if hasattr(self, "clients"):
                self.judge()
                self.run(self._rest())
                self.judge()
        finally:
            if hasattr(self, "clients"):
                self.run(self._end())
            super().teardown()

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
        self.source.versions[k] += 1
        version = self.source.versions[k]
        if how == "put":
            self.source.arrived[k, version] = self.source.loop.time() + 1
            confirmed = await writer.region.put(value_of(k, version), k=k)
        elif how == "tag" and self.policy["tags"]:
            confirmed = await writer.caching.invalidate_tags("all")
        elif how == "all":
            confirmed = await writer.caching.clear()
        else:
            confirmed = await writer.region.invalidate(k=k)
        writer.bind(k, version)
        while not confirmed and writer.is_alive:
            await asyncio.sleep(0.05)
            confirmed = writer.caching.stats().pending_invalidations == 0
        for other in self.clients:
            if other is not writer and writer.is_alive:
                other.bind_as_other(k, version)

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


async def _pause(length: float) -> None:
    await (_turns(length) if isinstance(length, int) else asyncio.sleep(length))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
