"""Opening a blob: one answer says what it is, and how the rest of a large content comes."""

from __future__ import annotations

from typing import Any

from storycore.errors import Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_s3._errors import ABSENCES
from storycore_s3._failures import Refused
from storycore_s3._objects import Objects, absence
from storycore_s3._ranges import Ranges, Source
from storycore_s3._reader import S3Reader
from storycore_s3._stream import Stream
from storycore_s3._wire import Headers

__all__ = ["opened"]


async def opened(objects: Objects, key: str, start: int, length: int | None, revision: str | None) -> S3Reader:
    """A reader of a range of a blob.

    Raises:
        NotFound: there is no such blob, or no such revision of it.
    """
    place = objects.place(key, revision)
    answer = None if length == 0 else await _answered(objects, key, place, start, length, revision)
    if answer is None:
        info, body = (await objects.found(key, revision)).info, None
        return S3Reader(_stream(objects, info, place, body, 0, 0), info, size=0, threads=objects.calls.threads)
    body = answer["Body"]
    try:
        info = await objects.info(key, answer)
    except BaseException:
        body.close()
        raise
    if info.revision is not None:
        place["VersionId"] = info.revision
    behind = info.size_bytes - start
    size = behind if length is None else min(length, behind)
    source = _source(objects, info, place, body, start, size)
    return S3Reader(source, info, size=size, threads=objects.calls.threads)


def _source(objects: Objects, info: BlobInfo, place: Headers, body: Any, start: int, size: int) -> Source:
    """Several ranges at once for large content; without revisions the answer to the first request is kept as well."""
    config = objects.config
    if config.parallel_parts == 1 or size <= (1 if info.revision else 2) * config.part_bytes:
        return _stream(objects, info, place, body, start, size)
    is_whole = info.revision is None
    return Ranges(
        objects.calls,
        info,
        place,
        start=start,
        size=size,
        step=config.part_bytes,
        at_once=config.parallel_parts,
        attempts=config.max_attempts,
        first=None if is_whole else body,
        whole=_stream(objects, info, place, body, start, size) if is_whole else None,
    )


def _stream(objects: Objects, info: BlobInfo, place: Headers, body: Any, start: int, size: int) -> Stream:
    attempts = objects.config.max_attempts
    return Stream(objects.calls, body, info, place, start=start, size=size, attempts=attempts)


async def _answered(
    objects: Objects, key: str, place: Headers, start: int, length: int | None, revision: str | None
) -> Any:  # botocore's answer; None where the range is empty
    """The first answer: where there are revisions of the first range at most, else of all that is wanted."""
    config = objects.config
    request = dict(place)
    if config.versions and config.parallel_parts > 1 and (length is None or length > config.part_bytes):
        length = config.part_bytes
    if start or length is not None:
        request["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
    try:
        answer = await objects.calls.send(
            "get_object", about=f"blob {key!r}", undo=lambda answer: answer["Body"].close(), **request
        )
    except Refused as refusal:
        if refusal.code in ("InvalidRange", "416"):
            return None
        if refusal.code in ABSENCES:
            raise absence(key, revision) from refusal
        raise objects.calls.translated(refusal, f"blob {key!r}") from refusal
    if start and "ContentRange" not in answer:
        answer["Body"].close()
        raise Unavailable(f"The server does not answer for a range of blob {key!r}; read it from its beginning.")
    return answer
