"""Damage, missing rights, wrong keys, dead servers: each has its error, and none is silent."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from storycore_s3._errors import Treatment, translated, treatment
from storycore_s3._failures import Lost, Refused
from storycore_s3.testing import server as serving

from storycore.errors import (
    AccessDenied,
    ConfigError,
    Corrupt,
    Effect,
    NotProvisioned,
    SchemaMismatch,
    StorageFull,
    Throttled,
    Unavailable,
)
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness

PLACE = "The bucket 'b'"


async def test_what_is_stored_is_the_content(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """Another tool reads the very bytes, and what it writes is read as a blob without a hash."""
    await store.put("a", b"abc", when=ANY, metadata={"k": "v"})
    assert raw.get_object(**place)["Body"].read() == b"abc"
    raw.put_object(**place, Body=b"foreign", ContentType="text/plain", Metadata={"who": "else"})
    info = await store.head("a")
    assert info is not None
    assert (info.sha256, info.content_type, dict(info.metadata)) == ("", "text/plain", {"who": "else"})
    assert await content_of(store, "a") == b"foreign"


@pytest.mark.parametrize("damage", [b"abX", b"ab", b"abcd", b""], ids=["a flipped bit", "cut", "longer", "empty"])
async def test_damage_is_found(store: BlobStore, raw: Any, place: dict[str, str], damage: bytes) -> None:
    """Reading to the end is ``Corrupt``, and deep health names the blob."""
    await store.put("a", b"abc", when=ANY)
    raw.put_object(**place, Body=damage, Metadata=raw.head_object(**place)["Metadata"])
    with pytest.raises(Corrupt, match="'a'"):
        await content_of(store, "a")
    health = await store.health(deep=True)
    assert (health.ok, "'a'" in health.detail, health.facts["damaged"]) == (False, True, 1)


async def test_damaged_headers_and_notes_are_found(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """Facts that nobody can read are ``Corrupt``."""
    raw.put_object(**place, Body=b"abc", Metadata={"storycore-facts": "nonsense"})
    with pytest.raises(Corrupt, match="headers"):
        await store.head("a")
    note = place["Key"].removesuffix("a") + "\U0010ffffi/notes/n1"
    raw.put_object(Bucket=place["Bucket"], Key=note, Body=b"{")
    raw.put_object(**place, Body=b"abc", Metadata={"storycore-note": "n1"})
    with pytest.raises(Corrupt, match="note"):
        await store.head("a")


async def test_a_bucket_that_is_missing_is_told(harness: Harness) -> None:
    """Opening names the cure, and a dry run tells what it would do and does nothing."""
    absent = harness.make(bucket=f"missing-{harness.name}")
    with pytest.raises(NotProvisioned, match="storycore init"):
        await absent.open()
    told = (await absent.ensure(dry_run=True)).actions
    assert "create the bucket" in told[0]
    with pytest.raises(NotProvisioned):
        await absent.open()


async def test_keys_cannot_change_their_form(harness: Harness, store: BlobStore) -> None:
    """A place that was written with portable names is not opened with plain ones."""
    with pytest.raises(SchemaMismatch, match="portable"):
        await harness.make(keys="plain").open()


async def test_wrong_credentials_are_denied(harness: Harness, store: BlobStore) -> None:
    """A wrong secret and an unknown key are ``AccessDenied``, and the message holds neither."""
    for wrong in ({"secret_access_key": "wrong-secret"}, {"access_key_id": "nobody"}):
        with pytest.raises(AccessDenied) as caught:
            await harness.make(**wrong).open()
        assert "wrong-secret" not in caught.value.message


async def test_an_endpoint_without_a_server_is_unavailable(harness: Harness) -> None:
    """Nothing was done, and it is said where to look."""
    with pytest.raises(Unavailable, match="endpoint_url") as caught:
        await harness.make(endpoint_url="http://127.0.0.1:9").open()
    assert caught.value.effect is Effect.NONE


async def test_a_customers_key_is_needed_for_reading(harness: Harness) -> None:
    """Content under one key is not read with another, nor without one."""
    keys = [base64.b64encode(bytes([i]) * 32).decode() for i in range(2)]
    store: BlobStore = await harness.started(customer_key=keys[0])
    info = await store.put("a", b"secret", when=ANY)
    assert (await content_of(store, "a"), await store.head("a")) == (b"secret", info)
    await store.put("large", pieces(b"x" * 6_000_000), when=ANY)
    assert await content_of(store, "large") == b"x" * 6_000_000
    copied = await store.copy("a", "b", when=ANY)
    assert (copied.sha256, store.capabilities.has("blobs.presign")) == (info.sha256, False)
    await store.close()
    with pytest.raises(AccessDenied):
        await harness.make(customer_key=keys[1]).open()
    with pytest.raises(AccessDenied):
        await harness.make().open()


async def test_a_server_that_dies_is_unavailable_and_leaves_no_half(tmp_path: Path) -> None:
    """In the middle of an upload and of a download; what was there stays readable by nobody but the server."""
    options = {"keys": "portable", "part_bytes": 5 * 1024 * 1024, "retry_base_ms": 1, "max_attempts": 2}
    with serving() as settings:
        harness = Harness(PortName.BLOBS, "s3", options, tmp_path, served=settings)
        store: BlobStore = await harness.started()
        await store.put("a", b"x" * 30_000_000, when=ANY)
        reader = await store.get("a")
        await anext(aiter(reader))
    with pytest.raises(Unavailable):
        await reader.read()
    with pytest.raises(Unavailable):
        await store.put("b", pieces(b"y" * 12_000_000), when=ANY)
    await reader.close()
    await store.close()


@pytest.mark.parametrize(
    ("failure", "error", "how"),
    [
        (Refused("SlowDown", status=503), Throttled, Treatment.SLOWER),
        (Refused("InternalError", status=500), Unavailable, Treatment.AGAIN),
        (Refused("Strange", status=599), Unavailable, Treatment.AGAIN),
        (Refused("NoSuchBucket", status=404), NotProvisioned, Treatment.FINAL),
        (Refused("RequestTimeTooSkewed", status=403), AccessDenied, Treatment.FINAL),
        (Refused("KMS.DisabledException", status=400), AccessDenied, Treatment.FINAL),
        (Refused("QuotaExceeded", status=403), StorageFull, Treatment.FINAL),
        (Refused("PermanentRedirect", status=301), ConfigError, Treatment.FINAL),
        (Refused("BadDigest", status=400), Corrupt, Treatment.AGAIN),
        (Lost("cut", effect=Effect.UNKNOWN), Unavailable, Treatment.AGAIN),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_each_refusal_has_its_error(failure: Refused | Lost, error: type[Exception], how: Treatment) -> None:
    """The table gives the class, and says whether a repetition can help; a skewed clock is named as the cause."""
    found = translated(failure, PLACE, effect=Effect.NONE)
    assert (type(found), treatment(failure)) == (error, how)
    if getattr(failure, "code", "") == "RequestTimeTooSkewed":
        assert "clock" in found.message


async def test_requests_leave_no_thread_behind(harness: Harness, server: Mapping[str, object]) -> None:
    """Closing ends the adapter's threads."""
    store: BlobStore = await harness.started()
    await store.put("a", b"abc", when=ANY)
    await store.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("storycore-s3")] == []
