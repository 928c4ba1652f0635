"""The beginning and the end of an upload in parts, so that a cancellation leaves none behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from storycore.errors import StorycoreError
from storycore_s3._calls import Calls
from storycore_s3._failures import Refused
from storycore_s3._wire import Headers

__all__ = ["abort", "begun"]


async def begun(calls: Calls, place: Headers, headers: Headers, *, about: str) -> str:
    """The id of a new upload. Who is cancelled while it is made waits, and it is aborted."""
    task = asyncio.create_task(calls.send("create_multipart_upload", about=about, **place, **headers))
    try:
        answer = await asyncio.shield(task)
    except asyncio.CancelledError:
        await _aborted(calls, place, task)
        raise
    except Refused as refusal:
        raise calls.translated(refusal, about) from refusal
    upload: str = answer["UploadId"]
    return upload


async def abort(calls: Calls, place: Headers, upload: str) -> None:
    """Remove the parts, as far as the service can be reached; ``ensure()`` finds what is left."""
    with suppress(StorycoreError, Refused):
        await calls.send("abort_multipart_upload", **place, UploadId=upload)


async def _aborted(calls: Calls, place: Headers, task: asyncio.Task[Any]) -> None:
    while not task.done():
        with suppress(asyncio.CancelledError):  # the one that is being handled is enough
            await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        await abort(calls, place, task.result()["UploadId"])
