"""On a server that keeps every name: keys as they are, and encryption by a key management service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config

from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import LONG_KEYS, ODD_KEYS, content_of, pieces
from storycore.testing.blob_listing import BlobListing
from storycore.testing.blob_machine import machine_for
from storycore.testing.harness import Harness
from storycore.testing.machines import run_machine

LARGE = b"x" * 6_000_000


@pytest.fixture
def harness(tmp_path: Path, ministack: Mapping[str, object]) -> Harness:
    """A bucket of its own, without a prefix: keys may use all of their length."""
    options = {"bucket": "kit-{name}", "prefix": "", "part_bytes": 5 * 1024 * 1024}
    return Harness(PortName.BLOBS, "s3", options, tmp_path, served=ministack)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[BlobStore]:
    """The opened adapter."""
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def raw(ministack: Mapping[str, Any]) -> Iterator[Any]:
    """Makes clients that know nothing of the adapter."""
    made: list[Any] = []

    def client(service: str) -> Any:
        made.append(
            boto3.Session().client(
                service,
                endpoint_url=ministack["endpoint_url"],
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(s3={"addressing_style": "path"}),
            )
        )
        return made[-1]

    yield client
    for one in made:
        one.close()


class TestPlainNames(BlobListing):
    """Listings of keys that are names themselves, folded by the service."""

    test_a_listing_of_more_than_a_page_goes_on = None  # type: ignore[assignment]  # a thousand blobs on one server do


async def test_plain_names_are_the_keys(store: BlobStore, harness: Harness, raw: Any) -> None:
    """Every key is kept under its own name, also the longest, but for those that begin with the last character."""
    keys = ODD_KEYS + LONG_KEYS
    assert store.capabilities.limits["blobs.key_bytes"] == 1024
    for key in keys:
        await store.put(key, key.encode(), when=ABSENT)
    names: set[str] = set()
    for page in raw("s3").get_paginator("list_objects_v2").paginate(Bucket=harness.settings()["bucket"]):
        names |= {each["Key"] for each in page["Contents"]}
    assert set(keys) - {"\U0010ffff"} <= names
    assert [one.key for one in (await store.entries()).blobs] == sorted(keys, key=str.encode)
    assert await store.delete(keys) == [True] * len(keys)


async def test_plain_names_agree_with_the_reference(harness: Harness) -> None:
    """Any sequence of operations has the same results and errors as on the memory adapter."""
    await run_machine(machine_for(harness), examples=2, steps=15)


async def test_content_is_encrypted_by_a_key_management_service(harness: Harness, raw: Any) -> None:
    """Small and large objects, notes and copies name the key; what is read is the content."""
    key = raw("kms").create_key()["KeyMetadata"]["Arn"]
    store: BlobStore = await harness.started(encryption="aws:kms", kms_key=key)
    for name, data in (("small", b"abc"), ("large", LARGE)):
        await store.put(name, pieces(data), when=ANY)
        await store.copy(name, f"{name} copied", when=ANY)
        assert [await content_of(store, each) for each in (name, f"{name} copied")] == [data, data]
    client, bucket = raw("s3"), harness.settings()["bucket"]
    for each in client.list_objects_v2(Bucket=bucket)["Contents"]:
        found = client.head_object(Bucket=bucket, Key=each["Key"])
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key), each["Key"]
    await store.close()


async def test_a_bucket_is_never_public(store: BlobStore, harness: Harness, raw: Any) -> None:
    """``ensure`` blocks every way of opening it to the world."""
    found = raw("s3").get_public_access_block(Bucket=harness.settings()["bucket"])
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}


async def test_content_is_encrypted_by_the_service(harness: Harness, raw: Any) -> None:
    """``AES256`` is asked for with every object."""
    store: BlobStore = await harness.started(encryption="AES256")
    await store.put("a", b"abc", when=ANY)
    found = raw("s3").head_object(Bucket=harness.settings()["bucket"], Key="a")
    assert found["ServerSideEncryption"] == "AES256"
    assert await content_of(store, "a") == b"abc"
    await store.close()
