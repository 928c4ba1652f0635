"""The bucket: whether it is what the settings say, making it so, and removing what interrupted writes have left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any, Final

from storycore.errors import ConfigError, Corrupt, NotProvisioned, SchemaMismatch
from storycore_s3._errors import ABSENCES, CONDITIONS
from storycore_s3._failures import Refused
from storycore_s3._objects import Objects
from storycore_s3._wire import protection, unlocking

__all__ = ["PUBLIC_ACCESS", "Provisioning"]

PUBLIC_ACCESS: Final = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

_MARKER: Final = "layout.json"
_NOT_OFFERED: Final = frozenset({"NotImplemented", "MethodNotAllowed", "501"})

Action = tuple[str, Callable[[], Awaitable[object]]]


class Provisioning:
    """One bucket and the place in it.

    Args:
        objects: of the place.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._calls = objects.calls
        self._config = objects.config
        self._layout = {"layout": "storycore-s3", "version": 1, "keys": self._config.keys}

    async def verify(self) -> None:
        """Raise unless the bucket is there and is what the settings say.

        Raises:
            NotProvisioned: it is missing, or lacks what ``ensure()`` would give it.
            SchemaMismatch: keys were written in another form.
        """
        if not await self._has_bucket():
            raise self._unprovisioned("does not exist")
        found = await self._marker()
        if found is None:
            raise self._unprovisioned("was not prepared")
        if found != self._layout:
            raise SchemaMismatch(
                f"The bucket {self._config.bucket!r} has the layout {found}, expected {self._layout}; "
                "set keys to what it says, or update storycore."
            )
        if self._config.versions and not await self._has_versions():
            raise self._unprovisioned("keeps no versions")
        if self._config.lock and not await self._has_locks():
            raise self._unprovisioned("has no Object Lock")

    async def actions(self, *, dry_run: bool) -> list[str]:
        """What is missing or left over, one sentence each; done unless it is a dry run."""
        told: list[str] = []
        async for sentence, act in self._missing():
            told.append(sentence)
            if not dry_run:
                await act()
        return told

    async def _missing(self) -> AsyncIterator[Action]:
        config = self._config
        bucket = f"the bucket {config.bucket!r}"
        is_new = not await self._has_bucket()
        if is_new:
            yield f"create {bucket}", self._create
        if config.versions and (is_new or not await self._has_versions()):
            yield f"turn on the versions of {bucket}", self._turn_on_versions
        if config.lock and not is_new and not await self._has_locks():
            yield f"turn on Object Lock of {bucket}", self._turn_on_locks
        if config.block_public_access and (is_new or not await self._is_private()):
            yield f"block public access to {bucket}", self._block
        if is_new or await self._marker() is None:
            yield f"write the layout of {bucket}", self._mark
        if not is_new:
            async for action in self._left_over():
                yield action

    async def _left_over(self) -> AsyncIterator[Action]:
        """Parts of uploads that were never finished, and notes of blobs that are no more."""
        before = self._objects.env.clock.now() - timedelta(days=self._config.abandon_after_days)
        uploads = [one async for one in self._uploads() if one["Initiated"].astimezone(UTC) < before]
        if uploads:
            yield f"abort {len(uploads)} uploads that were never finished", lambda: self._abort(uploads)
        if not self._config.versions:  # old revisions may still need theirs
            notes = [name async for name in self._lost_notes(before)]
            if notes:
                yield f"remove {len(notes)} notes of blobs that are no more", lambda: self._remove(notes)

    async def _has_bucket(self) -> bool:
        return await self._asked("head_bucket") is not None

    async def _has_versions(self) -> bool:
        answer = await self._asked("get_bucket_versioning")
        return answer is not None and answer.get("Status") == "Enabled"

    async def _has_locks(self) -> bool:
        answer = await self._asked("get_object_lock_configuration", missing={"ObjectLockConfigurationNotFoundError"})
        return answer is not None and answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"

    async def _is_private(self) -> bool:
        try:
            answer = await self._asked("get_public_access_block", missing={"NoSuchPublicAccessBlockConfiguration"})
        except NotImplementedError:
            return True
        return answer is not None and answer["PublicAccessBlockConfiguration"] == PUBLIC_ACCESS

    async def _asked(self, operation: str, *, missing: frozenset[str] | set[str] = frozenset()) -> Any:
        """An answer about the bucket; ``None``: there is no such bucket, or no such setting."""
        try:
            return await self._calls.answer(operation, answers={*missing, *ABSENCES, "NoSuchBucket", *_NOT_OFFERED})
        except Refused as refusal:
            if refusal.code in _NOT_OFFERED and refusal.code not in missing:
                raise NotImplementedError(refusal.code) from refusal
            return None

    async def _create(self) -> None:
        request: dict[str, Any] = {}
        region = await self._calls.region()
        if region not in (None, "us-east-1"):  # S3: CreateBucket takes every region but its first as a constraint
            request["CreateBucketConfiguration"] = {"LocationConstraint": region}
        if self._config.lock:
            request["ObjectLockEnabledForBucket"] = True
        await self._calls.send("create_bucket", **request)
        if self._config.tags:
            tags = [{"Key": key, "Value": value} for key, value in self._config.tags.items()]
            await self._calls.send("put_bucket_tagging", Tagging={"TagSet": tags})

    async def _turn_on_versions(self) -> None:
        await self._calls.send("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})

    async def _turn_on_locks(self) -> None:
        await self._calls.send(
            "put_object_lock_configuration", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )

    async def _block(self) -> None:
        try:
            await self._calls.answer(
                "put_public_access_block",
                answers=_NOT_OFFERED,
                PublicAccessBlockConfiguration=PUBLIC_ACCESS,
            )
        except Refused as refusal:
            if self._config.endpoint_url is None:
                raise ConfigError(
                    "The service cannot block public access; set block_public_access = false."
                ) from refusal

    async def _mark(self) -> None:
        body = json.dumps(self._layout).encode()
        name = self._objects.names.own(_MARKER)
        try:
            await self._calls.send("put_object", Key=name, Body=body, IfNoneMatch="*", **protection(self._config))
        except Refused as refusal:
            if refusal.code not in CONDITIONS:
                raise self._calls.translated(refusal) from refusal

    async def _marker(self) -> object:
        name = self._objects.names.own(_MARKER)
        try:
            answer = await self._calls.send("get_object", Key=name, **unlocking(self._config))
        except Refused as refusal:
            if refusal.code in ABSENCES:
                return None
            raise self._calls.translated(refusal) from refusal
        body = answer["Body"]
        try:
            found: object = json.loads(await self._calls.threads.run(body.read))
        except ValueError as exc:
            raise Corrupt(f"The layout of the bucket {self._config.bucket!r} is damaged: {name!r}.") from exc
        finally:
            body.close()
        return found

    async def _uploads(self) -> AsyncIterator[Any]:
        where: dict[str, Any] = {"Prefix": self._config.prefix}
        while True:
            answer = await self._calls.send("list_multipart_uploads", **where)
            for upload in answer.get("Uploads", ()):
                yield upload
            if not answer.get("IsTruncated"):
                return
            where |= {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    async def _abort(self, uploads: list[Any]) -> None:
        for upload in uploads:
            try:
                await self._calls.send("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
            except Refused as refusal:  # somebody else has just done it
                if refusal.code != "NoSuchUpload":
                    raise self._calls.translated(refusal) from refusal

    async def _lost_notes(self, before: Any) -> AsyncIterator[str]:
        """Names of old notes that no blob names."""
        old = [each["Key"] async for each in self._notes() if each["LastModified"].astimezone(UTC) < before]
        used = await self._objects.used_notes() if old else set()
        for name in old:
            if name.rpartition("/")[2] not in used:
                yield name

    async def _notes(self) -> AsyncIterator[Any]:
        where: dict[str, Any] = {"Prefix": self._objects.names.own("notes/")}
        while True:
            answer = await self._calls.send("list_objects_v2", **where)
            for note in answer.get("Contents", ()):
                yield note
            if not answer.get("IsTruncated"):
                return
            where["ContinuationToken"] = answer["NextContinuationToken"]

    async def _remove(self, names: list[str]) -> None:
        for name in names:
            await self._calls.send("delete_object", Key=name)

    def _unprovisioned(self, how: str) -> NotProvisioned:
        return NotProvisioned(
            f"The bucket {self._config.bucket!r} {how}; run `storycore init` or ensure() with these settings."
        )
