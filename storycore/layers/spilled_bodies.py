"""Spilled bodies: what a record keeps in the blob store, under which names, and the pointer that leads there."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self, TypeVar
from urllib.parse import quote, unquote

import orjson

from storycore.errors import AlreadyExists, Corrupt, NotFound, StorycoreError
from storycore.ports.blobs import BlobInfo, BlobStore
from storycore.ports.conditions import ABSENT, ANY, Version
from storycore.ports.entities import EntityStore, Key, Put, Record
from storycore.ports.environment import Environment

__all__ = [
    "PLACE_KIND",
    "POINTER_FIELD",
    "Pointer",
    "SpilledBodies",
    "exported_pointer",
    "in_parallel",
    "is_spilled",
    "key_file",
    "place_record",
    "with_pointer",
    "without_pointer",
]

T = TypeVar("T")
R = TypeVar("R")

POINTER_FIELD = "body.blob"
"""The field of a record whose body has spilled; no field of a model can have that name."""

PLACE_KIND = "spill_place"
"""The kind of the record that says where the bodies of a store lie."""
_PLACE_KEY = Key("!spill", "place")
_KEY_NAME = "=key"
_METADATA_BYTES = 2000
_SPILLED = re.compile(r"spill/[0-9A-Za-z]{1,64}/[0-9a-f]{32}/[^/]+", re.ASCII)
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a body is and how to know it.

    Args:
        name: of the blob.
        size_bytes: of the body.
        sha256: of the body, lower-case hex.
    """

    name: str
    size_bytes: int
    sha256: str

    @property
    def text(self) -> str:
        """The pointer as the value of a record's field."""
        return f"{self.sha256} {self.size_bytes} {self.name}"

    @classmethod
    def of(cls, record: Record) -> Self | None:
        """The pointer that a stored record carries; ``None`` when its body has not spilled.

        Raises:
            Corrupt: the record carries something else in its place.
        """
        text = record.fields.get(POINTER_FIELD)
        if text is None:
            return None
        match str(text).split(" ", 2):
            case [sha256, size, name] if size.isdecimal():
                return cls(name, int(size), sha256)
        raise Corrupt(f"The record {_address(record.key)} does not tell where its body is; restore it from a backup.")


class SpilledBodies:
    """The bodies of one entity store in a blob store.

    A blob is written once under a name of its own and never changed, so a pointer leads to the same bytes as long as
    the blob is there. Names begin with what tells this entity store from others that share the blob store: an id that
    the entity store keeps in a record, from its first spilled body on.

    Args:
        blobs: keeps them; borrowed.
        env: makes names.
        records: the entity store; borrowed.
        place: the id, where the record is not to be used.
    """

    def __init__(self, blobs: BlobStore, env: Environment, records: EntityStore, place: str | None = None) -> None:
        self.blobs = blobs
        self._env = env
        self._records = records
        self._place = place

    async def prefix(self) -> str | None:
        """What the names of all bodies of this entity store begin with; ``None`` when it never had any."""
        if self._place is None:
            [record] = await self._records.get([_PLACE_KEY], consistent=True)
            self._place = None if record is None else record.body.decode()
        return None if self._place is None else _prefix(self._place)

    async def pointer(self, key: Key, body: bytes, token: str | None) -> Pointer:
        """Where a body is going to be; writes no blob.

        Args:
            token: of the write; the same token with the same body gives the same name, so that the write is the same
                when it is repeated.
        """
        prefix = await self.prefix() or await self._first_prefix()
        return _pointer(prefix, key, body, self._env.new_id() if token is None else None, token)

    async def store(self, key: Key, pointer: Pointer, body: bytes, *, is_repeatable: bool) -> None:
        """Write a body where its pointer says, with the key of the record that will point there."""
        metadata = {"pk": quote(key.pk), "sk": quote(key.sk)}
        if sum(map(len, metadata.values())) > _METADATA_BYTES:
            metadata = {}
            await self.blobs.put(*key_file(pointer, key), when=ANY)
        when = ANY if is_repeatable else ABSENT
        await self.blobs.put(pointer.name, body, when=when, metadata=metadata, sha256=pointer.sha256)

    async def fetch(self, key: Key, pointer: Pointer) -> bytes:
        """The body.

        Raises:
            NotFound: the blob is gone.
            Corrupt: it is not what was written.
        """
        async with await self.blobs.get(pointer.name) as reader:
            told = reader.info.sha256
            if reader.info.size_bytes != pointer.size_bytes or told not in (pointer.sha256, ""):
                raise _damaged(key, pointer)
            try:
                body = await reader.read()
            except Corrupt as exc:
                raise _damaged(key, pointer) from exc
        if not told and (await asyncio.to_thread(hashlib.sha256, body)).hexdigest() != pointer.sha256:
            raise _damaged(key, pointer)  # another program brought the blob, and so nobody else compares it
        return body

    async def forget(self, pointers: Iterable[Pointer]) -> None:
        """Remove bodies to which no record has ever pointed, as far as that can be done now."""
        names = [pointer.name for pointer in pointers]
        if names:
            with suppress(StorycoreError):
                await self.blobs.delete(names)

    async def key_of(self, blob: BlobInfo) -> Key | None:
        """The key of the record that a body belongs to; ``None`` when the blob does not tell."""
        if "pk" in blob.metadata and "sk" in blob.metadata:
            return Key(unquote(blob.metadata["pk"]), unquote(blob.metadata["sk"]))
        folder = blob.key.rpartition("/")[0]
        try:
            async with await self.blobs.get(f"{folder}/{_KEY_NAME}") as reader:
                pk, sk = orjson.loads(await reader.read())
        except (NotFound, ValueError):
            return None
        return Key(pk, sk)

    @staticmethod
    def is_body(name: str) -> bool:
        """Whether a blob of the prefix is a body, and not what a long key is kept in."""
        return not name.endswith(f"/{_KEY_NAME}")

    async def _first_prefix(self) -> str:
        """The prefix of an entity store that has none yet; of two who begin at once both get the same."""
        place = Put(key=_PLACE_KEY, kind=PLACE_KIND, body=self._env.new_id().encode(), when=ABSENT)
        with suppress(AlreadyExists):
            await self._records.write([place])
        prefix = await self.prefix()
        assert prefix is not None
        return prefix


def exported_pointer(place: str, key: Key, body: bytes) -> Pointer:
    """Where a body is in an export whose bodies have that place; the same for the same body."""
    return _pointer(_prefix(place), key, body, None, place)


def key_file(pointer: Pointer, key: Key) -> tuple[str, bytes]:
    """The blob beside a body that tells whose it is, where metadata does not: its name and its content."""
    return f"{pointer.name.rpartition('/')[0]}/{_KEY_NAME}", orjson.dumps([key.pk, key.sk])


def place_record(place: str) -> Record:
    """The record that says where the bodies of a store lie."""
    return Record(key=_PLACE_KEY, kind=PLACE_KIND, version=Version(0), body=place.encode())


def is_spilled(name: str) -> bool:
    """Whether a blob's name is one that the bodies of some entity store have, and nobody else would choose."""
    return _SPILLED.fullmatch(name) is not None


def with_pointer(record: Record, pointer: Pointer) -> Record:
    """The record as the store keeps it: without its body, and with the field that leads there."""
    return replace(record, fields={**record.fields, POINTER_FIELD: pointer.text}, body=b"")


def without_pointer(record: Record, body: bytes) -> Record:
    """The record as its writer knows it: with ``body``, and without the field that led there."""
    fields = {name: value for name, value in record.fields.items() if name != POINTER_FIELD}
    return replace(record, fields=fields, body=body)


async def in_parallel(call: Callable[[T], Awaitable[R]], items: Sequence[T], *, width: int = _WIDTH) -> list[R]:
    """The results of ``call`` in the order of the items, a few calls at a time; after a failure no call goes on."""
    if len(items) == 1:
        return [await call(items[0])]
    gate = asyncio.Semaphore(width)

    async def one(item: T) -> R:
        async with gate:
            return await call(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _prefix(place: str) -> str:
    return f"spill/{place}/"


def _pointer(prefix: str, key: Key, body: bytes, last: str | None, token: str | None) -> Pointer:
    sha256 = hashlib.sha256(body).hexdigest()
    return Pointer(f"{prefix}{_digest(key.pk, key.sk)}/{last or _digest(str(token), sha256)}", len(body), sha256)


def _digest(*parts: str) -> str:
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()


def _address(key: Key) -> str:
    return f"({key.pk!r}, {key.sk!r})"


def _damaged(key: Key, pointer: Pointer) -> Corrupt:
    return Corrupt(
        f"The body of the record {_address(key)} in the blob {pointer.name!r} is not what was written; restore the "
        "record from a backup."
    )
