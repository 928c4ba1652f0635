"""The BlobStore port on S3."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Literal
from weakref import WeakSet

from storycore.errors import AccessDenied, Effect, StorycoreError, Unsupported
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobPage, BlobReader
from storycore.ports.capabilities import Capabilities, Durability, Guarantees, Support
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_s3._audit import audit
from storycore_s3._calls import Calls
from storycore_s3._copying import copy
from storycore_s3._failures import VENDOR, Refused, failure_of
from storycore_s3._listing import page_of, revisions_of
from storycore_s3._objects import Objects, absence
from storycore_s3._opening import opened
from storycore_s3._provision import Provisioning
from storycore_s3._reader import S3Reader
from storycore_s3._removal import remove
from storycore_s3._upload import Upload
from storycore_s3._wire import DEFAULT_TYPE, Facts, Headers
from storycore_s3.config import S3Config

__all__ = ["S3BlobStore", "open_blobs"]


def open_blobs(config: S3Config, env: Environment) -> S3BlobStore:
    """The blob store of one bucket, not yet open."""
    return S3BlobStore(config, env)


class S3BlobStore(Lifecycle):
    """Blobs as objects of a bucket."""

    def __init__(self, config: S3Config, env: Environment) -> None:
        self._config = config
        self._env = env
        self._calls = Calls(config, env)
        self._objects = Objects(self._calls, config, env)
        self._provisioning = Provisioning(self._objects)
        self._natives: Sequence[object] = ()
        self._readers: WeakSet[S3Reader] = WeakSet()

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("s3", version("storycore-s3"), f"s3://{self._config.bucket}/{self._config.prefix}")

    @property
    def capabilities(self) -> Capabilities:
        """Versions and locks where the bucket has them; presigned URLs unless the caller holds the key himself."""
        config = self._config
        claimed = {
            "blobs.presign": config.customer_key is None,
            "blobs.versions": config.versions,
            "blobs.lock": config.lock,
        }
        return Capabilities(
            features={name: Support.NATIVE for name, is_claimed in claimed.items() if is_claimed},
            limits={"blobs.key_bytes": self._objects.names.most_key_bytes},
            guarantees=Guarantees(
                durability=Durability.REPLICATED if config.endpoint_url is None else Durability.DISK,
                read_after_write=True,
                multi_process=True,
            ),
        )

    async def open(self) -> None:
        """Verify the bucket."""
        if self._opened:
            return
        try:
            await self._provisioning.verify()
            self._natives = (await self._calls.threads.run(lambda: self._calls.client),)
        except BaseException:
            await self._calls.close()
            raise
        self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the bucket, and remove what uploads have left that were never finished."""
        try:
            return Provision(await self._provisioning.actions(dry_run=dry_run))
        finally:
            if not self._opened:
                await self._calls.close()

    async def health(self, *, deep: bool = False) -> Health:
        """Look at the bucket; ``deep`` reads every blob and compares it with its hash."""
        started = time.perf_counter()
        try:
            self._require_open()
            await self._provisioning.verify()
            found = await audit(self._objects, self.get) if deep else Health(ok=True, detail="The bucket is there.")
        except StorycoreError as exc:
            found = Health(ok=False, detail=exc.message)
        return replace(found, latency_ms=(time.perf_counter() - started) * 1000)

    async def close(self) -> None:
        """Close all readers, wait for what is under way and close the connections."""
        self._opened = False
        for reader in list(self._readers):
            await reader.close()
        await self._calls.close()
        self._natives = ()

    async def put(
        self,
        key: str,
        data: bytes | AsyncIterable[bytes],
        *,
        when: BlobCondition,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        sha256: str | None = None,
        locked_until: datetime | None = None,
    ) -> BlobInfo:
        """Send the content, in parts if it is large, and let it become the blob."""
        self._require_open()
        facts = Facts(
            sha256="", modified_at=self._env.clock.now(), write=self._env.new_id(), metadata=dict(metadata or {})
        )
        lock = self._lock(locked_until)
        upload = Upload(self._objects, key, facts, content_type or DEFAULT_TYPE, lock, sha256)
        return await upload.put(data, when)

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        """Open the object; what is read stays as it is now."""
        self._require_open()
        reader = await opened(self._objects, key, start, length, revision)
        self._readers.add(reader)
        return reader

    async def head(self, key: str) -> BlobInfo | None:
        """Ask for the object's headers."""
        self._require_open()
        seen = await self._objects.look(key)
        return None if seen is None else seen.info

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove objects, a thousand at a time."""
        self._require_open()
        return await remove(self._objects, keys)

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        """Let the service copy."""
        self._require_open()
        return await copy(self._objects, source, target, when, revision)

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        """List names, and ask for the headers of each object on the page."""
        self._require_open()
        return await page_of(self._objects, prefix, delimiter, after, limit)

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        """List the object's versions, and ask for the headers of each."""
        self._require_open()
        return await revisions_of(self._objects, key, limit)

    async def lock(self, key: str, until: datetime) -> BlobInfo:
        """Set the object's retention."""
        self._require_open()
        seen = await self._objects.found(key)
        present = seen.info.locked_until
        if present is not None and until < present:
            raise AccessDenied(f"Blob {key!r} is locked until {present}, which cannot be made {until}.")
        if until > self._env.clock.now():
            retention = {"Mode": self._config.lock_mode, "RetainUntilDate": until}
            place: Headers = {"Key": self._objects.names.of(key), "VersionId": seen.info.revision}
            try:
                await self._calls.send("put_object_retention", about=f"blob {key!r}", **place, Retention=retention)
            except Refused as refusal:
                raise absence(key, seen.info.revision) from refusal
        found = await self._objects.found(key, seen.info.revision)
        return found.info

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires: timedelta) -> str:
        """Sign a URL; nothing is sent."""
        self._require_open()
        if self._config.customer_key is not None:
            raise Unsupported("A URL cannot carry the customer's key.", feature="blobs.presign")
        operation = {"GET": "get_object", "PUT": "put_object"}[method]
        place = {"Bucket": self._config.bucket, "Key": self._objects.names.of(key)}
        call = partial(self._signed, operation, place, int(expires.total_seconds()))
        return await self._calls.threads.run(call)

    def _signed(self, operation: str, place: Headers, seconds: int) -> str:
        try:
            url: str = self._calls.client.generate_presigned_url(operation, Params=place, ExpiresIn=seconds)
            return url
        except VENDOR as exc:
            failure = failure_of(exc)
            raise self._calls.translated(failure, effect=Effect.NONE) from exc

    def _lock(self, until: datetime | None) -> Headers:
        if until is None or until <= self._env.clock.now():
            return {}
        return {"ObjectLockMode": self._config.lock_mode, "ObjectLockRetainUntilDate": until}
