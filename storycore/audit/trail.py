"""The trail of one store: what is recorded, and everything that can be done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from storycore.audit.accesses import Access, owner_of
from storycore.audit.chain import Chain
from storycore.audit.chains import in_order
from storycore.audit.exporting import AuditExported, exported, verified_file
from storycore.audit.keys import AuditKey, KeySource
from storycore.audit.people import People
from storycore.audit.places import Place
from storycore.audit.pruning import AuditPruned, pruned
from storycore.audit.recorder import Recorder
from storycore.audit.records import AuditRecord, shown_actor
from storycore.audit.verifying import AuditReport, verified
from storycore.audit.watching import Watching
from storycore.errors import InvalidArgument
from storycore.layers.acting import USER, Acting, actor
from storycore.layers.around import Around
from storycore.layers.deadline import Deadlines
from storycore.ports.entities import Key
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Health, Port, PortName

__all__ = ["AuditTrail"]

_KEYED = (PortName.ENTITIES, PortName.BLOBS, PortName.VECTORS, PortName.EVENTS)


class AuditTrail:
    """Who read and wrote what, in records that each hold a hash of the one before.

    Args:
        place: where it lies.
        source: has its key.
        env: tells the time and makes ids.
        who: acts where nobody has said who.
        reads: whether reads are recorded too.
        durable: whether an operation only returns when its record is stored.
        flush_seconds: otherwise, between two batches of records.
        blocks: whether operations wait, and are refused, while the place cannot be written and too many records wait;
            otherwise they are done, and the trail tells how many were not recorded.
    """

    def __init__(
        self,
        place: Place,
        source: KeySource,
        env: Environment,
        *,
        who: str,
        reads: bool = True,
        durable: bool = False,
        flush_seconds: float = 1.0,
        blocks: bool = True,
    ) -> None:
        self._place = place
        self._source = source
        self._env = env
        self._people = People(place, env.clock)
        self._chain = Chain(place, source, self._people, env)
        self._who = Acting(who)
        self._recorder = Recorder(self._chain, self._who, flush_seconds=flush_seconds, blocks=blocks)
        self._layer = Watching(self._recorder, env.clock, self._who, reads=reads, durable=durable)

    def watched(self, port: PortName, inner: Port) -> Port:
        """A port whose operations are recorded, and wait for that no longer than their deadline."""
        return Around(port, inner, [Deadlines(), self._layer])

    async def ensure(self) -> Sequence[str]:
        """Create the trail's own place, and the key where it lies in a file that does not exist; say so."""
        actions = [] if self._place.own is None else [*(await self._place.own.ensure()).actions]
        made = await self._source.made()
        return [*actions, made] if made else actions

    async def flush(self) -> None:
        """Store all that was recorded so far.

        Raises:
            StorycoreError: it cannot be stored; it stays, and is tried again.
        """
        await self._recorder.flush()

    async def records(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor: str = "",
        action: str = "",
        key: Key | str | None = None,
    ) -> AsyncIterator[AuditRecord]:
        """What was recorded by all stores that share the trail, by time; those of one store in its order.

        Args:
            since, until: only with ``since <= at < until``; aware.
            actor: only of this one, as it was said; ``user:NAME`` finds what a user did until he is forgotten.
            action: only this one, ``"entities.write"``, or those of a port, ``"entities"``.
            key: only about this one: an entity's key, a partition that was queried, the name of a blob, a vector's id,
                the subject of an event.

        Raises:
            InvalidArgument: a moment has no time zone.
            Corrupt: a record on the way does not bear its hash; ``verify`` says which.
        """
        for name, moment in (("since", since), ("until", until)):
            _demand_zone(name, moment)
        await self.flush()
        trail = await self._chain.key()
        actors = await self._actors(actor, trail) if actor else None
        keys = await self._keys(key, trail) if key is not None else None
        async for record in in_order(self._place, trail, since=since, until=until):
            if (
                (actors is None or record.actor in actors)
                and (not action or record.action == action or record.action.startswith(f"{action}."))
                and (keys is None or not keys.isdisjoint(record.keys))
            ):
                yield record

    async def verify(self, *, progress: Callable[[int], None] | None = None) -> AuditReport:
        """Walk the whole trail and say of everything that is not as it was written what it is; changes nothing.

        What its key's owner himself changes is not found, nor is the end of the newest chains, cut off together with
        an older head of theirs; a copy of the head elsewhere, or an export, tells that.

        Args:
            progress: told how many records were read.
        """
        await self.flush()
        key = await self._chain.key()
        return await verified(self._place, key, own=self._chain.id, progress=progress)

    async def export(self, path: Path | str) -> AuditExported:
        """Write the whole trail into a new file of JSON lines, which ``verify_file`` verifies anywhere.

        Raises:
            AlreadyExists, AccessDenied, NotFound, StorageFull: the file cannot be written.
            Corrupt: the trail is not as it was written.
        """
        await self.flush()
        done = await exported(self._place, await self._chain.key(), Path(path))
        self._note("audit.exported", records=done.records)
        return done

    async def verify_file(self, path: Path | str) -> AuditReport:
        """Walk an export, as ``verify`` walks a trail.

        Raises:
            NotFound, AccessDenied: it cannot be read.
            ConfigError: there is no key; none is made, for it would be another one.
        """
        return await verified_file(Path(path), await self._source.key(is_new=False))

    async def prune(self, before: datetime, *, dry_run: bool = False) -> AuditPruned:
        """Remove what is older, batch by batch; the rest verifies as before. Can be repeated.

        What a lock keeps is told in ``refused``, and goes with the next prune behind the lock's end.

        Args:
            before: aware.
            dry_run: only say what would go.

        Raises:
            InvalidArgument: the moment has no time zone.
            Corrupt: what would go is not as it was written, and nothing has gone.
            ConditionFailed: another process prunes.
        """
        _demand_zone("before", before)
        await self.flush()
        done = await pruned(self._place, await self._chain.key(), before, dry_run=dry_run)
        if not dry_run:
            self._note("audit.pruned", before=before.isoformat(), records=done.records)
        return done

    async def forget(self, user: str) -> bool:
        """Destroy the key with which a user and his things are named, so that nobody finds out whose records these are.

        Records stay, and the trail verifies as before. It is the last step of an erasure: who touches his things later
        begins anew with another key. Another process may use the old one for a minute more.

        Returns:
            whether there was one.
        """
        await self.flush()
        done = await self._people.forget(user, await self._chain.key())
        self._note("audit.forgotten", had_key=done)
        return done

    def health(self) -> Mapping[str, Health]:
        """A line on whether records are stored."""
        failure, lost = self._recorder.failure, self._recorder.lost
        facts = {"waiting": self._recorder.waiting, "lost": lost, "degraded": failure is not None or bool(lost)}
        if failure is None:
            return {"audit": Health(ok=True, facts=facts)}
        detail = f"{self._recorder.waiting} records of the audit trail wait, {lost} are lost: {failure.message}"
        return {"audit": Health(ok=False, detail=detail, facts=facts)}

    async def close(self) -> None:
        """Store what waits, and end the chain.

        Raises:
            Unavailable: records are lost, for they could not be stored.
        """
        await self._recorder.close()
        await self._place.close()

    def _note(self, action: str, **about: object) -> None:
        """Record what was done to the trail itself."""
        self._recorder.add(Access(self._env.clock.now(), actor(self._who), action, "done", about=about))

    async def _actors(self, given: str, trail: AuditKey) -> set[str]:
        if not given.startswith(USER):
            return {given}
        own = await self._people.known(given.removeprefix(USER), trail)
        return set() if own is None else {shown_actor(given, trail, own)}

    async def _keys(self, given: Key | str, trail: AuditKey) -> set[str]:
        names = (
            [(str(PortName.ENTITIES), (given.pk, given.sk))]
            if isinstance(given, Key)
            else [(str(port), (given,)) for port in _KEYED]
        )
        found = set()
        for port, name in names:
            user = owner_of(port, name)
            own = None if user is None else await self._people.known(user, trail)
            if user is None or own is not None:
                found.add(trail.of_name(port, name, own))
        return found


def _demand_zone(name: str, moment: datetime | None) -> None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidArgument(f"{name} has no time zone: {moment}; write it like 2026-11-22T14:03:07Z.")
