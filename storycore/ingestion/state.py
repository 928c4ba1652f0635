"""What has been ingested: one record per document, and one more while it is being changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace

from storycore.entities.keys import encode
from storycore.errors import Corrupt
from storycore.ingestion.documents import Chunk, digest
from storycore.ports.conditions import ABSENT, Condition, Matches, Version
from storycore.ports.entities import Delete, EntityStore, Key, Put, QueryPlan, Record

__all__ = ["Chunks", "Known", "Loaded", "SourceStates", "chunk_marks"]

Chunks = Mapping[str, bytes]
"""Chunk ids to a mark of everything else about the chunk, 8 bytes."""

_KIND = "ingest_source"
_ID_BYTES, _MARK_BYTES = 16, 8
_ENTRY_BYTES = _ID_BYTES + _MARK_BYTES
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """A document in the state, in short.

    Args:
        fingerprint: of its content and of how it was cut and embedded; ``""`` when it was never finished.
        pending: a change began and did not end.
        chunks: how many there were after the last finished change.
    """

    fingerprint: str = ""
    pending: bool = False
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document in the state, whole.

    Args:
        chunks: what was there after the last finished change.
        intended: what the unfinished change wanted; ``None`` when there is none.
    """

    chunks: Chunks = field(default_factory=dict)
    fingerprint: str = ""
    version: Version | None = None
    intended: Chunks | None = None
    intent_version: Version | None = None

    @property
    def short(self) -> Known | None:
        """The same in short; ``None`` when there is nothing."""
        if self.version is None and self.intended is None:
            return None
        return Known(self.fingerprint, self.intended is not None, len(self.chunks))

    @property
    def possible(self) -> set[str]:
        """The ids of all chunks that may be in the index."""
        return {*self.chunks, *(self.intended or ())}


class SourceStates:
    """The documents of one root in one pipeline.

    Args:
        store: where the records are.
        place: what tells this root and pipeline from all others.
    """

    def __init__(self, store: EntityStore, place: Iterable[str]) -> None:
        self._store = store
        self._pk = encode(("ingest", digest(place)))

    async def known(self) -> dict[str, Known]:
        """All documents by uri."""
        found: dict[str, Known] = {}
        async for record in self._records():
            uri = str(record.fields["uri"])
            before = found.get(uri, Known())
            if record.key == self._intent_key(uri):
                found[uri] = replace(before, pending=True)
            else:
                found[uri] = Known(str(record.fields["fingerprint"]), before.pending, int(str(record.fields["chunks"])))
        return found

    async def load(self, uri: str) -> Loaded:
        """One document with its chunks."""
        state, intent = await self._store.get([self._state_key(uri), self._intent_key(uri)])
        return Loaded(
            chunks=_unpacked(state) if state else {},
            fingerprint=str(state.fields["fingerprint"]) if state else "",
            version=state.version if state else None,
            intended=_unpacked(intent) if intent else None,
            intent_version=intent.version if intent else None,
        )

    async def begin(self, uri: str, chunks: Chunks, loaded: Loaded) -> Version | None:
        """Note what is going to be there; gives the note's version.

        Raises:
            ConditionFailed: someone else is changing the same document.
        """
        note = Put(
            key=self._intent_key(uri),
            kind=_KIND,
            fields={"uri": uri},
            body=_packed(chunks),
            when=_unless_changed(loaded.intent_version),
        )
        return (await self._store.write([note]))[0].version

    async def finish(self, uri: str, fingerprint: str, chunks: Chunks, loaded: Loaded, note: Version | None) -> None:
        """Make ``chunks`` the document's state and drop the note.

        Raises:
            ConditionFailed: someone else changed the same document.
        """
        state = Put(
            key=self._state_key(uri),
            kind=_KIND,
            fields={"uri": uri, "fingerprint": fingerprint, "chunks": len(chunks)},
            body=_packed(chunks),
            when=_unless_changed(loaded.version),
        )
        if note is None:
            await self._store.write([state])
        else:
            await self._store.write([state, Delete(key=self._intent_key(uri), when=Matches(note))], atomic=True)

    async def forget(self, uri: str, loaded: Loaded, note: Version | None) -> None:
        """Drop the document and its note.

        Raises:
            ConditionFailed: someone else changed the same document.
        """
        state = Delete(key=self._state_key(uri), when=_unless_changed(loaded.version))
        await self._store.write([state, Delete(key=self._intent_key(uri), when=_unless_changed(note))], atomic=True)

    async def _records(self) -> AsyncIterator[Record]:
        after = None
        while True:
            plan = QueryPlan(pk=self._pk, limit=_PAGE, after=after, consistent=True, bodies=False)
            page = await self._store.query(plan)
            for record in page.records:
                yield record
            if page.next is None:
                return
            after = page.next

    def _state_key(self, uri: str) -> Key:
        return Key(self._pk, encode((digest([uri]), "done")))

    def _intent_key(self, uri: str) -> Key:
        return Key(self._pk, encode((digest([uri]), "intent")))


def chunk_marks(chunks: Iterable[Chunk]) -> dict[str, bytes]:
    """The ids of ``chunks`` with their marks, which differ when anything but the embedded text differs."""
    return {chunk.id: bytes.fromhex(digest([repr(chunk.metadata)]))[:_MARK_BYTES] for chunk in chunks}


def _unless_changed(version: Version | None) -> Condition:
    return ABSENT if version is None else Matches(version)


def _packed(chunks: Chunks) -> bytes:
    return b"".join(bytes.fromhex(id_) + mark for id_, mark in chunks.items())


def _unpacked(record: Record) -> Chunks:
    body = record.body
    if len(body) % _ENTRY_BYTES:
        raise Corrupt(
            f"The ingestion state of {record.fields.get('uri')!r} is damaged; delete the record {record.key} and "
            "run the pipeline again with verify=True."
        )
    starts = range(0, len(body), _ENTRY_BYTES)
    return {body[at : at + _ID_BYTES].hex(): body[at + _ID_BYTES : at + _ENTRY_BYTES] for at in starts}
