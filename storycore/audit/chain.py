"""A chain: the records of one opened store, each bound to the one before it, in batches with a head at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storycore.audit.accesses import Access
from storycore.audit.keys import AuditKey, KeySource, sealed
from storycore.audit.people import People
from storycore.audit.places import Mark, Place, head
from storycore.audit.records import line_of, users_of
from storycore.errors import AccessDenied, AlreadyExists, ConditionFailed, Corrupt
from storycore.layers.acting import Acting
from storycore.layers.spilled_bodies import in_parallel
from storycore.ports.blobs import BlobCondition
from storycore.ports.conditions import ABSENT
from storycore.ports.environment import Environment

__all__ = ["Chain", "Draft"]

_WITNESSED = 16
"""So many of the newest heads a new chain writes into its first record."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch before it is stored; the same bytes however often that is tried.

    Args:
        name: of the object.
        data: its content.
        last: its last record.
    """

    name: str
    data: bytes
    last: Mark


class Chain:
    """Writes the records of one opened store.

    Args:
        place: where the trail lies.
        source: has its key.
        people: has users' own keys.
        env: tells the time and makes ids.
    """

    def __init__(self, place: Place, source: KeySource, people: People, env: Environment) -> None:
        self._place = place
        self._source = source
        self._people = people
        self._env = env
        self._key: AuditKey | None = None
        self._seen: dict[str, object] = {}
        self._last = Mark()
        self._over: BlobCondition = ABSENT
        self.id = ""

    async def draft(self, accesses: Sequence[Access], *, lost: int, who: Acting) -> Draft:
        """The next batch.

        Args:
            lost: how many accesses could not be recorded before these.
            who: writes the chain itself.

        Raises:
            StorycoreError: the key or the place cannot be used.
        """
        now = accesses[0].at if accesses else self._env.clock.now()
        key = await self._begun(now)
        entries = list(accesses)
        if lost:
            entries.insert(0, Access(now, who, "audit.lost", "done", about={"count": lost}))
        if not self._last.seq:
            entries.insert(0, Access(now, who, "audit.opened", "done", about={"heads": self._seen}))
        users = sorted({user for each in accesses for user in users_of(each)})
        found = await in_parallel(lambda user: self._people.key(user, key), users)
        own = dict(zip(users, found, strict=True))
        return await asyncio.to_thread(self._drafted, entries, key, own)

    async def put(self, draft: Draft) -> None:
        """Store a batch and renew the head; can be repeated."""
        try:
            await self._place.blobs.put(draft.name, draft.data, when=ABSENT)
        except AlreadyExists as exc:
            if await self._place.content(draft.name) != draft.data:
                raise Corrupt(f"{draft.name} of the audit trail was written by somebody else.") from exc
        await self._put_head(draft.last, is_closed=False)
        self._last = draft.last

    async def close(self) -> None:
        """Say that the chain ends here; nothing where it never began."""
        if self._last.seq:
            await self._put_head(self._last, is_closed=True)

    async def key(self) -> AuditKey:
        """The trail's key, which is made with the trail."""
        if self._key is None:
            self._key = await self._source.key(is_new=await self._place.is_empty())
        return self._key

    async def _begun(self, at: datetime) -> AuditKey:
        """The key, once there is a chain, which is named by when its first record was made."""
        key = await self.key()
        if not self.id:
            self._seen = await self._witnessed(key)
            id_ = f"{at:%Y%m%dT%H%M%S}-{self._env.new_id()[:16]}"
            self._over = await self._place.put_head(id_, sealed(key, head(id_, Mark(), is_closed=False)), ABSENT)
            self.id = id_
        return key

    async def _witnessed(self, key: AuditKey) -> dict[str, object]:
        """The newest chains and how far they go, so that a later one misses what is taken from an earlier one."""
        names = [name async for name in self._place.heads()][-_WITNESSED:]
        found: dict[str, object] = {}
        for chain in names:
            try:
                state, _ = await self._place.state(self._place.head_name(chain), key)
            except Corrupt:
                continue
            if state is not None and state.get("chain") == chain:
                found[chain] = [state["seq"], state["hash"]]
        if names and not found:
            raise AccessDenied("The audit trail was sealed with another key than this one; give the profile that one.")
        return found

    def _drafted(self, entries: Sequence[Access], key: AuditKey, own: dict[str, bytes]) -> Draft:
        seq, previous = self._last.seq, self._last.hash
        lines = []
        for access in entries:
            seq += 1
            line, previous = line_of(access, key, own, chain=self.id, seq=seq, previous=previous)
            lines.append(line + b"\n")
        until = max(each.at for each in entries)  # the machine's clock may have been set back
        name = self._place.batch(self.id, self._last.seq + 1, until)
        return Draft(name, b"".join(lines), Mark(seq, previous))

    async def _put_head(self, mark: Mark, *, is_closed: bool) -> None:
        """Renew the head over the one that was put last: one that was given up and comes late finds another there."""
        state = sealed(await self.key(), head(self.id, mark, is_closed=is_closed))
        try:
            self._over = await self._place.put_head(self.id, state, self._over)
        except ConditionFailed:
            self._over = await self._place.put_head(self.id, state, await self._place.over_head(self.id))
