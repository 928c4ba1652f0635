"""The shared tier: the Cache port with envelopes, tags and the outbox. A fault here is an answer, never an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from storycore.caching.entries import Entry, Slot, port_ttl, seal, unseal
from storycore.caching.guard import BreakerState, Guard
from storycore.caching.outbox import Outbox
from storycore.errors import DeadlineExceeded
from storycore.layers.deadline import timeless
from storycore.ports.cache import Acquired, Cache, Fill, Lease
from storycore.ports.environment import Environment

__all__ = ["Claim", "Loaded", "SharedTier"]

T = TypeVar("T")

_PATIENCE_SECONDS = 1.0
"""How long a cancelled caller stays for the leases that are on their way to him, to give them back."""


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """The outcome of asking for the right to load one entry.

    Args:
        lease: ours to fill under, if we got it.
        versions: of the tags, read before the load.
        found: what is there: an answer when it is fresh, else at best a stand-in.
        is_fault: the shared tier failed, so that nothing is known.
    """

    lease: Lease | None = None
    versions: tuple[int, ...] = ()
    found: Entry[T] | None = None
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A loaded value on its way in; its claim has a lease."""

    slot: Slot[T]
    claim: Claim[T]
    entry: Entry[T]


class SharedTier:
    """The port as the tier stack sees it.

    Args:
        port: behind its checks.
        env: its clock decides what is fresh.
        prefix: of all the namespace's keys.
        guard: lets no call take too long.
        secrets: what is stored is signed with the first, what is read with any; none: nothing is.
    """

    def __init__(
        self, port: Cache, env: Environment, prefix: str, guard: Guard, *, secrets: Sequence[bytes] = ()
    ) -> None:
        self.guard = guard
        self.outbox = Outbox(port, guard, env, prefix)
        self.bytes_read = 0
        self.bytes_written = 0
        self._port = port
        self._env = env
        self._prefix = prefix
        self._secrets = tuple(secrets) or (b"",)
        self._salvages: set[asyncio.Task[None]] = set()

    @property
    def is_cut_off(self) -> bool:
        """Whether the tier has failed so often that it is let alone."""
        return self.guard.state is not BreakerState.CLOSED

    def is_let_alone(self, slots: Sequence[Slot[Any]]) -> bool:
        """Whether no call would be made now, which counts as a fault of the tier; nothing is held up to find out."""
        if self.guard.state is not BreakerState.OPEN:
            return False
        _count_fault(slots)
        return True

    async def look(self, slots: Sequence[Slot[T]]) -> list[Entry[T] | None]:
        """The entries, fresh or fit to stand in; ``None`` where there is none or the tier failed."""
        if self.is_let_alone(slots):
            return [None] * len(slots)
        try:
            if not await self.outbox.settled():
                return [None] * len(slots)
            versions, sealed = await self.guard.run(lambda: self._read(slots))
        except Exception:  # whatever the tier raises, reading goes on with the loader
            _count_fault(slots)
            return [None] * len(slots)
        self.bytes_read += sum(len(data) for data in sealed if data is not None)
        return [self._unseal(slot, data, versions) for slot, data in zip(slots, sealed, strict=True)]

    async def claim(self, slots: Sequence[Slot[T]], *, refresh: bool = False) -> list[Claim[T]]:
        """Ask once for the right to load each entry; all slots are of one region and have different keys.

        A caller who is cancelled, or for whom a part of it fails, leaves no lease behind.

        Args:
            refresh: also where there is a fresh value, which stays.
        """
        if self.is_let_alone(slots):
            return [Claim(is_fault=True)] * len(slots)
        claims: list[Claim[T]] = []
        try:
            if not await self.outbox.settled():
                return [Claim(is_fault=True)] * len(slots)
            versions, acquired = await self._ask(slots, refresh=refresh)
            claims = [self._claim(slot, got, versions) for slot, got in zip(slots, acquired, strict=True)]
            if not refresh:
                await self._claim_outdated(slots, claims, versions, had=[got.value is not None for got in acquired])
            return claims
        except BaseException as exc:  # whatever the tier raises, the value is loaded without it
            await self.release(claims)
            if not isinstance(exc, Exception):
                raise
            _count_fault(slots)
            return [Claim(is_fault=True)] * len(slots)

    async def fill(self, loaded: Sequence[Loaded[T]]) -> list[bool]:
        """Store loaded values under their leases; whether each was accepted and no tag has moved since its claim.

        When it fails or is cancelled, the leases are given back in the background.
        """
        if not loaded:
            return []
        fills = [
            Fill(one.claim.lease, self._seal(one.slot, one.entry, one.claim.versions), port_ttl(one.slot, one.entry))
            for one in loaded
            if one.claim.lease is not None
        ]
        slots = [one.slot for one in loaded]
        try:
            versions, accepted = await self.guard.run(lambda: self._fill(slots, fills))
        except BaseException as exc:  # whatever the tier raises, the value was loaded and is handed out
            self._later(self.release([one.claim for one in loaded]))
            _count_fault(slots)
            return [_pass_on(exc)] * len(slots)
        return [
            took and one.claim.versions == _of(one.slot, versions) for one, took in zip(loaded, accepted, strict=True)
        ]

    async def release(self, claims: Sequence[Claim[Any]]) -> None:
        """Give leases back unfilled."""
        await self._release([claim.lease for claim in claims])

    async def invalidate(self, keys: Sequence[str]) -> bool:
        """Remove entries; ``False``: not confirmed yet, and repeated until it is."""
        try:
            await self.guard.run(lambda: self._port.invalidate(keys))
        except BaseException as exc:  # a cancelled call may or may not have arrived, which is as good as failed
            self.outbox.add(keys=keys)
            return _pass_on(exc)
        return True

    async def invalidate_tags(self, tags: Sequence[str]) -> bool:
        """Outdate everything that carries one of the tags; ``False`` as above."""
        try:
            await self.guard.run(lambda: self._port.bump(tags))
        except BaseException as exc:  # as above
            self.outbox.add(tags=tags)
            return _pass_on(exc)
        return True

    async def clear(self) -> bool:
        """Remove all entries of the namespace; ``False`` as above."""
        try:
            await self.guard.run(lambda: self._port.clear(self._prefix), in_time=False)
        except BaseException as exc:  # as above
            self.outbox.add(everything=True)
            return _pass_on(exc)
        return True

    async def close(self) -> None:
        """Deliver what is pending if that is possible, and give back what came too late."""
        await self.outbox.close()
        if self._salvages:
            await asyncio.wait(self._salvages)

    async def _read(self, slots: Sequence[Slot[T]]) -> tuple[Mapping[str, int], list[bytes | None]]:
        """The tags' versions and the values, asked for at once."""
        keys = [slot.key for slot in slots]
        if not any(slot.tags for slot in slots):
            return {}, await self._port.get(keys)
        return await asyncio.gather(self._versions(slots), self._port.get(keys))

    async def _fill(self, slots: Sequence[Slot[T]], fills: Sequence[Fill]) -> tuple[Mapping[str, int], list[bool]]:
        """The tags' versions and what was accepted, asked for at once."""
        if not any(slot.tags for slot in slots):
            return {}, await self._port.fill(fills)
        return await asyncio.gather(self._versions(slots), self._port.fill(fills))

    async def _ask(self, slots: Sequence[Slot[T]], *, refresh: bool) -> tuple[Mapping[str, int], list[Acquired]]:
        """The tags' versions and what was acquired, asked for at once."""
        if not any(slot.tags for slot in slots):
            return {}, await self._acquire(slots, refresh=refresh)
        reading = asyncio.ensure_future(self.guard.run(lambda: self._versions(slots)))
        acquired: list[Acquired] = []
        try:
            acquired = await self._acquire(slots, refresh=refresh)
            return await reading, acquired
        except BaseException:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._release([got.lease for got in acquired])
            raise

    async def _claim_outdated(
        self, slots: Sequence[Slot[T]], claims: list[Claim[T]], versions: Mapping[str, int], *, had: Sequence[bool]
    ) -> None:
        """Take the lease also where the value that is there answers nothing any more."""
        now = self._env.clock.now()
        again = [i for i, claim in enumerate(claims) if had[i] and not _answers(claim, now)]
        if not again:
            return
        for i, got in zip(again, await self._acquire([slots[i] for i in again], refresh=True), strict=True):
            claims[i] = self._claim(slots[i], got, versions)
        for i in again:
            if _answers(claims[i], now):
                await self.release([claims[i]])
                claims[i] = replace(claims[i], lease=None)

    def _claim(self, slot: Slot[T], got: Acquired, versions: Mapping[str, int]) -> Claim[T]:
        return Claim(got.lease, _of(slot, versions), self._unseal(slot, got.value, versions))

    def _unseal(self, slot: Slot[T], sealed: bytes | None, versions: Mapping[str, int]) -> Entry[T] | None:
        if sealed is None:
            return None
        return unseal(slot, sealed, _of(slot, versions), self._secrets, self._env.random.random())

    def _seal(self, slot: Slot[T], entry: Entry[T], versions: Sequence[int]) -> bytes:
        sealed = seal(slot, entry, versions, self._secrets[0])
        self.bytes_written += len(sealed)
        return sealed

    async def _acquire(self, slots: Sequence[Slot[T]], *, refresh: bool) -> list[Acquired]:
        """What the port grants; to a caller who is cancelled meanwhile, nothing."""
        lease = slots[0].policy.lease
        asked: list[asyncio.Future[list[Acquired]]] = []

        def ask() -> Awaitable[list[Acquired]]:
            keys = [slot.key for slot in slots]
            asked.append(asyncio.ensure_future(self._port.acquire(keys, lease=lease, refresh=refresh)))
            asked[0].add_done_callback(_look_at)
            return asyncio.shield(asked[0])

        try:
            return await self.guard.run(ask)
        except asyncio.CancelledError:
            await self._salvage(asked)
            raise
        except DeadlineExceeded:
            self._later(self._salvage(asked))
            raise

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, context=timeless())
        self._salvages.add(task)
        task.add_done_callback(self._salvages.discard)

    async def _salvage(self, asked: Sequence[asyncio.Future[list[Acquired]]]) -> None:
        """Give back the leases that are still on their way to a caller who has gone."""
        for asking in asked:
            await asyncio.wait([asking], timeout=_PATIENCE_SECONDS)
            if not asking.cancel() and not asking.cancelled() and asking.exception() is None:
                await self._release([got.lease for got in asking.result()])

    async def _release(self, leases: Sequence[Lease | None]) -> None:
        ours = [lease for lease in leases if lease is not None]
        if not ours:
            return
        try:
            await self.guard.run(lambda: self._port.release(ours))
        except Exception:  # the lease then ends by itself
            return

    async def _versions(self, slots: Sequence[Slot[T]]) -> Mapping[str, int]:
        tags = list(dict.fromkeys(tag for slot in slots for tag in slot.tags))
        return dict(zip(tags, await self._port.counters(tags), strict=True)) if tags else {}


def _of(slot: Slot[Any], versions: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(versions[tag] for tag in slot.tags)


def _answers(claim: Claim[Any], now: datetime) -> bool:
    return claim.found is not None and claim.found.is_fresh(now)


def _count_fault(slots: Sequence[Slot[Any]]) -> None:
    slots[0].policy.counts.faults += 1


def _look_at(asking: asyncio.Future[list[Acquired]]) -> None:
    """Take note of the outcome, which nobody may be left to ask for."""
    if not asking.cancelled():
        asking.exception()


def _pass_on(exc: BaseException) -> bool:
    if isinstance(exc, Exception):
        return False
    raise exc
