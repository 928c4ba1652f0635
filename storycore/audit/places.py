"""Where a trail lies in a blob store.

<prefix>chains/<chain>/<first seq>-<latest moment, ms>        a batch of records, one line each; never replaced
<prefix>heads/<chain>                                         how far the chain goes, sealed; renewed with each batch
<prefix>users/<hash>                                          what makes a user's own key; deleted when he is forgotten
<prefix>pruned                                                how far chains were pruned, sealed
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from storycore.audit.keys import AuditKey, sealed, unsealed
from storycore.errors import Corrupt, NotFound
from storycore.ports.blobs import BlobCondition, BlobMatches, BlobStore
from storycore.ports.conditions import ABSENT
from storycore.ports.instants import micros
from storycore.ports.lifecycle import Port

__all__ = ["Batch", "Mark", "Place", "batch_name", "head", "marks", "millis", "plain"]

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """An object with records, as its name tells of it.

    Args:
        name: of the object.
        chain: whose it is.
        first: the first record's place in the chain; 0 where the name is not one that a writer gives.
        until: the moment of its latest record, in milliseconds.
    """

    name: str
    chain: str
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A record by its place in its chain and its hash; 0 and ``""``: none."""

    seq: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A blob store, and what names in it begin with.

    Args:
        own: the store, where it is the trail's alone and ends with it.
    """

    blobs: BlobStore
    prefix: str
    own: Port | None = None

    async def close(self) -> None:
        """Close the store, unless it is somebody else's."""
        if self.own is not None:
            await self.own.close()

    async def is_empty(self) -> bool:
        """Whether nothing lies there, not even what tells of a trail that was pruned as a whole."""
        return not (await self.blobs.entries(self.prefix, limit=1)).blobs

    async def chains(self) -> list[str]:
        """All chains, in the order in which they began; those too of which only a head, or only records are left."""
        folder = f"{self.prefix}chains/"
        found = {each async for each in self.heads()}
        after: str | None = None
        while True:
            page = await self.blobs.entries(folder, delimiter="/", after=after, limit=_PAGE)
            found |= {each.removeprefix(folder).removesuffix("/") for each in page.prefixes}
            found |= {each.key.removeprefix(folder) for each in page.blobs}
            if page.next is None:
                return sorted(found)
            after = page.next

    async def batches(self, chain: str) -> list[Batch]:
        """A chain's batches, in order."""
        folder = self.chain_name(chain)
        names = [
            name async for name in self.names(f"chains/{chain}") if name == folder or name.startswith(f"{folder}/")
        ]
        return [_batch(name, chain, name.removeprefix(f"{folder}/")) for name in names]

    async def strays(self) -> AsyncIterator[str]:
        """What lies beside everything that this module names."""
        known = {f"{self.prefix}{folder}/" for folder in ("chains", "heads", "users")} | {self.pruned_name}
        after: str | None = None
        while True:
            page = await self.blobs.entries(self.prefix, delimiter="/", after=after, limit=_PAGE)
            for name in (*page.prefixes, *(each.key for each in page.blobs)):
                if name not in known:
                    yield name
            if page.next is None:
                return
            after = page.next

    async def heads(self) -> AsyncIterator[str]:
        """The chains that have a head, in the order in which they began."""
        async for name in self.names("heads/"):
            yield name.removeprefix(f"{self.prefix}heads/")

    async def names(self, start: str) -> AsyncIterator[str]:
        """The objects whose names begin so behind the prefix, ascending."""
        after: str | None = None
        while True:
            page = await self.blobs.entries(self.prefix + start, after=after, limit=_PAGE)
            for each in page.blobs:
                yield each.key
            if page.next is None:
                return
            after = page.next

    async def content(self, name: str) -> bytes | None:
        """An object's bytes; ``None``: there is none, or it was damaged so that the store itself does not give it."""
        try:
            async with await self.blobs.get(name) as reader:
                return await reader.read()
        except (NotFound, Corrupt):
            return None

    async def state(self, name: str, key: AuditKey) -> tuple[dict[str, object] | None, BlobCondition]:
        """A sealed state, and the condition under which it is replaced.

        Raises:
            Corrupt: it bears no seal of the key.
        """
        try:
            async with await self.blobs.get(name) as reader:
                data, version = await reader.read(), reader.info.version
        except NotFound:
            return None, ABSENT
        state = unsealed(key, data)
        if state is None:
            raise Corrupt(f"{name} of the audit trail bears no seal of this key; `storycore audit verify` tells more.")
        return state, BlobMatches(version)

    async def pruned(self, key: AuditKey) -> tuple[dict[str, Mark], BlobCondition]:
        """How far each chain was pruned, and the condition under which that is replaced.

        Raises:
            Corrupt: what tells it bears no seal of the key.
        """
        state, when = await self.state(self.pruned_name, key)
        return marks(state), when

    async def put_pruned(self, found: Mapping[str, Mark], key: AuditKey, when: BlobCondition) -> None:
        """Say how far each chain was pruned."""
        await self.blobs.put(self.pruned_name, sealed(key, {"pruned": plain(found)}), when=when)

    async def put_head(self, chain: str, sealed_head: bytes, when: BlobCondition) -> BlobCondition:
        """Say how far a chain goes; returns the condition under which that is replaced."""
        return BlobMatches((await self.blobs.put(self.head_name(chain), sealed_head, when=when)).version)

    async def over_head(self, chain: str) -> BlobCondition:
        """The condition under which a head is replaced, whatever it is."""
        found = await self.blobs.head(self.head_name(chain))
        return ABSENT if found is None else BlobMatches(found.version)

    @property
    def pruned_name(self) -> str:
        """What tells how far chains were pruned."""
        return f"{self.prefix}pruned"

    def head_name(self, chain: str) -> str:
        """A chain's head."""
        return f"{self.prefix}heads/{chain}"

    def chain_name(self, chain: str) -> str:
        """What the names of a chain's batches begin with, up to a slash."""
        return f"{self.prefix}chains/{chain}"

    def batch(self, chain: str, first: int, until: datetime) -> str:
        """What a batch is named."""
        return f"{self.chain_name(chain)}/{batch_name(first, until)}"


def batch_name(first: int, until: datetime) -> str:
    """A batch within its chain."""
    return f"{first:012d}-{millis(until):014d}"


def head(chain: str, mark: Mark, *, is_closed: bool) -> dict[str, object]:
    """How far a chain goes."""
    return {"chain": chain, "seq": mark.seq, "hash": mark.hash, "closed": is_closed}


def marks(state: Mapping[str, object] | None) -> dict[str, Mark]:
    """How far each chain was pruned, of a sealed state."""
    held = state.get("pruned") if state else None
    return {chain: Mark(seq, hash_) for chain, (seq, hash_) in held.items()} if isinstance(held, dict) else {}


def plain(found: Mapping[str, Mark]) -> dict[str, list[object]]:
    """Marks by chain, as they stand in a sealed state."""
    return {chain: [each.seq, each.hash] for chain, each in found.items()}


def millis(at: datetime) -> int:
    """A moment as names of batches tell it."""
    return micros(at) // 1000


def _batch(name: str, chain: str, rest: str) -> Batch:
    first, _, until = rest.partition("-")
    is_named = first.isascii() and until.isascii() and first.isdigit() and until.isdigit()
    return Batch(name, chain, int(first), int(until)) if is_named else Batch(name, chain, 0, 0)
