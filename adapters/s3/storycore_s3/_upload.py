"""Content on its way into the bucket: in one request, or in parts of which several are under way at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from storycore.errors import Corrupt, StorycoreError
from storycore.ports.blobs import BlobInfo
from storycore_s3._failures import Refused
from storycore_s3._multipart import abort, begun
from storycore_s3._objects import Objects
from storycore_s3._parts import Parts
from storycore_s3._wire import Facts, Headers, fits

__all__ = ["Upload"]

_HASHED_AT_ONCE: Final = 64 * 1024
"""More is hashed in a thread, for a megabyte takes a millisecond."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload whose parts are all there."""

    id: str
    parts: list[dict[str, Any]]
    size_bytes: int


class Upload:
    """One write of one blob.

    Args:
        objects: of the place.
        key: of the blob.
        facts: without the hash; their write is the upload's own.
        content_type: of the blob.
        lock: the headers that lock the new object.
        sha256: what the content must hash to, if the caller has said it.
    """

    def __init__(
        self, objects: Objects, key: str, facts: Facts, content_type: str, lock: Headers, sha256: str | None
    ) -> None:
        self._objects = objects
        self._calls = objects.calls
        self._config = objects.config
        self._key = key
        self._facts = facts
        self._type = content_type
        self._lock = lock
        self._announced = sha256
        self._hash = hashlib.sha256()
        self._about = f"blob {key!r}"

    async def put(self, data: bytes | AsyncIterable[bytes], when: Any) -> BlobInfo:
        """Send the content and let it become the blob, if the condition holds."""
        async with aclosing(aiter(self._parts_of(data))) as parts:
            heads = [part async for part in _at_most(2, parts)]
            if len(heads) == 1:
                return await self._put_whole(heads[0], when)
            return await self._put_parts(_chained(heads, parts), when)

    def _parts_of(self, data: bytes | AsyncIterable[bytes]) -> Parts:
        self._parts = Parts(data, self._config.part_bytes)
        return self._parts

    async def _put_whole(self, content: memoryview, when: Any) -> BlobInfo:
        await self._count(content)
        facts = self._finished()
        headers = await self._objects.headers(facts, self._type)
        request: Headers = {
            **self._objects.place(self._key),
            **headers,
            **self._lock,
            "ChecksumSHA256": base64.b64encode(self._hash.digest()).decode(),
        }
        return await self._decided(
            when,
            facts,
            len(content),
            lambda condition: self._calls.send("put_object", about=self._about, Body=content, **request, **condition),
        )

    async def _put_parts(self, parts: AsyncIterator[memoryview], when: Any) -> BlobInfo:
        known = replace(self._facts, sha256=self._announced) if self._announced else None
        is_whole = known is not None and fits(known)
        headers = await self._objects.headers(known or self._facts, self._type, is_whole=is_whole)
        place: Headers = {"Key": self._objects.names.of(self._key)}
        upload = await begun(self._calls, place, {**headers, **self._lock}, about=self._about)
        try:
            sent = await self._send_parts(upload, parts)
            facts = self._finished()
            if not is_whole:
                await self._objects.write_note(facts)
            request: Headers = {**place, "UploadId": upload, "MultipartUpload": {"Parts": sent.parts}}
            complete = partial(self._calls.send, "complete_multipart_upload", about=self._about, **request)
            return await self._decided(when, facts, sent.size_bytes, lambda condition: complete(**condition))
        except BaseException:
            await abort(self._calls, place, upload)
            if not is_whole:
                await self._forget_note()
            raise

    async def _send_parts(self, upload: str, parts: AsyncIterator[memoryview]) -> Sent:
        """Send the parts, never more of them at once than allowed; the first failure ends all."""
        free = asyncio.Semaphore(self._config.parallel_parts)
        done: list[dict[str, Any]] = []
        size = number = 0
        async with _Crew() as crew:
            async for part in parts:
                number += 1
                size += len(part)
                await self._count(part)
                await crew.place(free)
                crew.add(self._send_part(upload, number, part, done), free)
                del part
        return Sent(upload, sorted(done, key=lambda each: each["PartNumber"]), size)

    async def _send_part(self, upload: str, number: int, part: memoryview, done: list[dict[str, Any]]) -> None:
        place = self._objects.place(self._key)
        try:
            answer = await self._calls.send(
                "upload_part", about=self._about, **place, UploadId=upload, PartNumber=number, Body=part
            )
        except Refused as refusal:  # somebody else has aborted the upload
            raise self._calls.translated(refusal, self._about) from refusal
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._parts.give_back(part)

    async def _count(self, part: memoryview) -> None:
        """Hash a part; a large one in a thread."""
        if len(part) > _HASHED_AT_ONCE:
            await self._calls.threads.run(partial(self._hash.update, part))
        else:
            self._hash.update(part)

    def _finished(self) -> Facts:
        digest = self._hash.hexdigest()
        if self._announced is not None and digest != self._announced:
            raise Corrupt(
                f"The content for blob {self._key!r} hashes to {digest}, expected {self._announced}; send it again."
            )
        return replace(self._facts, sha256=digest)

    async def _decided(self, when: Any, facts: Facts, size_bytes: int, send: Any) -> BlobInfo:
        async def sending(condition: Headers) -> BlobInfo:
            answer = await send(condition)
            seen = {
                **answer,
                "ContentLength": size_bytes,
                "ContentType": self._type,
                "ObjectLockRetainUntilDate": self._lock.get("ObjectLockRetainUntilDate"),
            }
            return self._objects.told(self._key, seen, facts)

        return await self._objects.decided(self._key, when, facts.write, sending)

    async def _forget_note(self) -> None:
        """Remove the note, unless an attempt without an answer has completed the upload after all."""
        with suppress(StorycoreError, Refused):
            if not await self._is_done():
                await self._objects.remove_notes([self._facts.write])

    async def _is_done(self) -> bool:
        seen = await self._objects.look(self._key)
        return seen is not None and seen.write == self._facts.write


class _Crew:
    """Tasks that end together: whoever leaves waits for all of them, and cancels them if something has failed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None

    async def place(self, free: asyncio.Semaphore) -> None:
        """Wait until one more may be added; raises what has failed meanwhile."""
        await free.acquire()
        if self._failed is not None:
            raise self._failed

    def add(self, work: Any, free: asyncio.Semaphore) -> None:
        """Begin a piece of work; ``free`` gets its place back."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, free))

    def _ended(self, free: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        free.release()
        if not task.cancelled() and (error := task.exception()) is not None and self._failed is None:
            self._failed = error

    async def __aenter__(self) -> _Crew:
        return self

    async def __aexit__(self, kind: object, *exc_info: object) -> None:
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        await self._settled()
        if kind is None and self._failed is not None:
            raise self._failed

    async def _settled(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
                await asyncio.sleep(0)  # the callbacks that take them off come one turn later
            except asyncio.CancelledError as error:
                cancelled = error
                for task in self._tasks:
                    task.cancel()
        if cancelled is not None:
            raise cancelled


async def _at_most(count: int, parts: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    with suppress(StopAsyncIteration):
        for _ in range(count):
            yield await anext(parts)


async def _chained(heads: list[memoryview], rest: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    """All parts; nothing here keeps one that was handed out."""
    while heads:
        yield heads.pop(0)
    async for part in rest:
        yield part
