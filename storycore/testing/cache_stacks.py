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
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from storycore.testing.cache_bench import CLIENTS, StackBench
from storycore.testing.cache_clients import KEYS, How
from storycore.testing.cache_wires import Trouble
from storycore.testing.harness import Harness
from storycore.testing.machines import run_machine

__all__ = ["CacheStacks", "StackMachine", "stack_machine_for"]

_EXAMPLES: Final = 40
_STEPS: Final = 25

_CLIENT: Final = st.integers(0, CLIENTS - 1)
_KEY: Final = st.sampled_from(KEYS)
_OTHER: Final = st.integers(0, CLIENTS - 1)
_SHORT: Final = 0.01
_DELAY: Final = st.sampled_from([0.0, 0.004, _SHORT, 0.1])
_HARM: Final = st.sampled_from(["cut", "altered", "foreign", "moved", "of another shape", "empty", "all gone"])
_LOAD: Final = st.sampled_from(How)
_WRITE: Final = st.sampled_from(["key", "tag", "all", "put", "writing"])
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


class StackMachine(StackBench):
    """What clients, wires and sources do; each rule is called by chance, or by a test by name."""

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

        Who puts a value has to know that it is the newest, so nobody else writes meanwhile; who puts it into a write
        of his own need not.
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


async def _pause(length: float) -> None:
    await (_turns(length) if isinstance(length, int) else asyncio.sleep(length))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
