"""Copies that the service makes itself: in one request, or of large content part by part."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from storycore.errors import NotFound
from storycore.ports.blobs import BlobCondition, BlobInfo
from storycore_s3._errors import ABSENCES
from storycore_s3._failures import Refused
from storycore_s3._multipart import abort, begun
from storycore_s3._objects import Objects
from storycore_s3._wire import Facts, Headers, quoted, unlocking

__all__ = ["copy"]

_WHOLE: Final = 16
"""Content of more than so many parts is copied in pieces of that size, several at once (S3: at most 5 GiB a piece)."""


async def copy(objects: Objects, source: str, target: str, when: BlobCondition, revision: str | None) -> BlobInfo:
    """Copy a blob, or what it was, with its facts but for the time."""
    while True:
        seen = await objects.found(source, revision)
        try:
            return await _Copy(objects, seen.info, target).done(when)
        except _Moved:
            continue


class _Moved(Exception):
    """The source was replaced or deleted between two requests."""


class _Copy:
    def __init__(self, objects: Objects, source: BlobInfo, target: str) -> None:
        self._objects = objects
        self._calls = objects.calls
        self._source = source
        self._target = target
        self._about = f"blob {target!r}"
        self._facts = Facts(
            sha256=source.sha256,
            modified_at=objects.env.clock.now(),
            write=objects.env.new_id(),
            metadata=source.metadata,
        )

    async def done(self, when: BlobCondition) -> BlobInfo:
        headers = await self._objects.headers(self._facts, self._source.content_type)
        size = _WHOLE * self._objects.config.part_bytes
        if self._source.size_bytes <= size:
            return await self._decided(when, lambda condition: self._copy_whole(headers, condition))
        return await self._copy_parts(headers, when, size)

    async def _copy_whole(self, headers: Headers, condition: Headers) -> Any:
        request: Headers = {
            **self._from,
            **self._objects.place(self._target),
            **headers,
            "MetadataDirective": "REPLACE",
        }
        try:
            answer = await self._calls.send("copy_object", about=self._about, **request, **condition)
        except Refused as refusal:
            await self._require_source(refusal)
            raise
        return {**answer["CopyObjectResult"], "VersionId": answer.get("VersionId", "null")}

    async def _copy_parts(self, headers: Headers, when: BlobCondition, size: int) -> BlobInfo:
        place: Headers = {"Key": self._objects.names.of(self._target)}
        upload = await begun(self._calls, place, headers, about=self._about)
        try:
            starts = range(0, self._source.size_bytes, size)
            free = asyncio.Semaphore(self._objects.config.parallel_parts)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._copy_part(free, upload, number, start, size))
                    for number, start in enumerate(starts, 1)
                ]
            request: Headers = {
                **place,
                "UploadId": upload,
                "MultipartUpload": {"Parts": [task.result() for task in tasks]},
            }
            return await self._decided(
                when,
                lambda condition: self._calls.send(
                    "complete_multipart_upload", about=self._about, **request, **condition
                ),
            )
        except BaseException as exc:
            await abort(self._calls, place, upload)
            raise _first(exc) from exc

    async def _copy_part(
        self, free: asyncio.Semaphore, upload: str, number: int, start: int, size: int
    ) -> dict[str, Any]:
        end = min(start + size, self._source.size_bytes) - 1
        request: Headers = {**self._from, **self._objects.place(self._target), "UploadId": upload, "PartNumber": number}
        async with free:
            try:
                answer = await self._calls.send(
                    "upload_part_copy", about=self._about, **request, CopySourceRange=f"bytes={start}-{end}"
                )
            except Refused as refusal:
                await self._require_source(refusal)
                raise self._calls.translated(refusal, self._about) from refusal
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    async def _decided(self, when: BlobCondition, send: Any) -> BlobInfo:
        async def sending(condition: Headers) -> BlobInfo:
            answer = await send(condition)
            size_bytes, content_type = self._source.size_bytes, self._source.content_type
            seen = {**answer, "ContentLength": size_bytes, "ContentType": content_type}
            return self._objects.told(self._target, seen, self._facts)

        return await self._objects.decided(self._target, when, self._facts.write, sending)

    @property
    def _from(self) -> Headers:
        config = self._objects.config
        source: Headers = {"Bucket": config.bucket, "Key": self._objects.names.of(self._source.key)}
        if self._source.revision is not None:
            source["VersionId"] = self._source.revision
        return {
            "CopySource": source,
            "CopySourceIfMatch": quoted(self._source.version),
            **unlocking(config, source=True),
        }

    async def _require_source(self, refusal: Refused) -> None:
        """Tell a condition of the target that failed from a source that is another one by now."""
        seen = await self._objects.look(self._source.key, self._source.revision)
        if seen is None and refusal.code in ABSENCES:
            raise NotFound(f"There is no blob {self._source.key!r} any more.") from refusal
        if seen is None or seen.info.version != self._source.version:
            raise _Moved from refusal


def _first(exc: BaseException) -> BaseException:
    """The error itself, where several that ended together are wrapped."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
