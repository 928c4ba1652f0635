"""Exports and tables: what AWS imports is a table of this adapter, and what AWS exports of one is read."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from storycore_dynamodb._table import table_definition
from storycore_dynamodb.config import DynamodbConfig

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.scratch import LONG_BODIES
from storycore.backup.service import Backups
from storycore.backup.sources.entities import EntitySource
from storycore.layers.checks import checked
from storycore.layers.spilling import SpillingEntities
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import EntityStore, Key, Put, QueryPlan, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.backup_formats import items
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness

FORMAT = "dynamodb-json"
BEGUN = datetime(2026, 11, 23, 4, tzinfo=UTC)
LONG = b"x" * 600_000
PUTS = (
    Put(key=Key("p1", "a"), kind="note", body=b'{"t":"\xe2\x80\xa8\xc2\x85"}', index_keys={1: Key("i", "2")}),
    Put(key=Key("p1", "b"), kind="note", body=b"\xff\0", fields={"n": 7, "x": 1.0, "pk": "mine"}),
    Put(key=Key("p2", "c"), kind="story", body=LONG, expires_at=BEGUN + timedelta(days=9)),
    Put(key=Key("p2", "d"), kind="story", index_keys={1: Key("i", "1")}),
)


class Side:
    """A store, its blobs and its backups."""

    def __init__(self, store: EntityStore, blobs: BlobStore, env: Environment) -> None:
        self.bare = store
        self.blobs = blobs
        self.store = SpillingEntities(store, blobs, env, LONG_BODIES)
        archive = Archive(blobs, Passphrase("correct horse", 10), env)
        source = EntitySource(self.store, env)
        self.backups = Backups(archive, [source], env, store="kit", scratch=_no_scratch, blobs=blobs)

    async def state(self) -> list[bytes]:
        """All records but for their versions and the store's own."""
        page = await self.store.scan(Segment(), limit=1000)
        return items([record for record in page.records if record.kind != "spill_place"])


def _no_scratch(*_: object) -> Any:
    raise AssertionError("nothing here restores into a scratch store")


@asynccontextmanager
async def side(harness: Harness) -> AsyncIterator[Side]:
    """An opened side; it provisions nothing."""
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), harness.env))
    async with harness.make() as store, blobs:
        yield Side(store, blobs, harness.env)


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncIterator[Side]:
    """A store in memory that holds ``PUTS``."""
    harness = Harness(PortName.ENTITIES, "memory", {}, tmp_path)
    harness.clock = ManualClock(BEGUN)
    async with side(harness) as made:
        await made.store.write(PUTS)
        harness.clock.advance(timedelta(seconds=1))
        yield made


@pytest.fixture
def table(tmp_path: Path, server: Mapping[str, object]) -> Harness:
    """A table that does not exist yet, on the clock of ``local``."""
    harness = Harness(PortName.ENTITIES, "dynamodb", {}, tmp_path, served=server)
    harness.clock = ManualClock(BEGUN + timedelta(minutes=1))
    return harness


def client(service: str, harness: Harness) -> Any:
    """boto3's own, for what the adapter does not do."""
    found = DynamodbConfig.model_validate(harness.settings())
    assert found.access_key_id is not None
    assert found.secret_access_key is not None
    return boto3.client(
        service,
        region_name=found.region,
        endpoint_url=found.endpoint_url,
        aws_access_key_id=found.access_key_id.get_secret_value(),
        aws_secret_access_key=found.secret_access_key.get_secret_value(),
    )


async def test_an_export_goes_into_a_table_and_out_again(local: Side, table: Harness, tmp_path: Path) -> None:
    """From memory into DynamoDB and back: equal, with indexes, types, expiry and long bodies."""
    await local.backups.create()
    await local.backups.exports.create(to=tmp_path / "out", format=FORMAT)
    async with await table.started() as _, side(table) as remote:
        await remote.backups.exports.restore(tmp_path / "out", format=FORMAT)
        assert await remote.state() == await local.state()
        await remote.backups.create()
        await remote.backups.exports.create(to=tmp_path / "back", format=FORMAT)
    await local.backups.exports.restore(tmp_path / "back", format=FORMAT)


async def test_what_aws_imports_is_a_table_of_ours(local: Side, table: Harness, tmp_path: Path) -> None:
    """ImportTable takes the data files; the table opens as it is, queries its indexes, and is written further."""
    await local.backups.create()
    made = await local.backups.exports.create(to=tmp_path / "out", format=FORMAT)
    config = DynamodbConfig.model_validate(table.settings())
    await asyncio.to_thread(_import, table, config, tmp_path / "out", made.name)
    async with side(table) as remote:
        for path in (path for path in (tmp_path / "out/spill").rglob("*") if path.is_file()):
            await remote.blobs.put(path.relative_to(tmp_path / "out").as_posix(), path.read_bytes(), when=ANY)
        assert await remote.state() == await local.state()
        page = await remote.store.query(QueryPlan(pk="i", slot=1))
        assert [record.key.sk for record in page.records] == ["d", "a"]
        [before] = await remote.store.get([Key("p1", "a")])
        [written] = await remote.store.write([Put(key=Key("p1", "a"), kind="note", body=b"later")])
        assert before is not None
        assert written.version is not None
        assert written.version > before.version
        [_] = await remote.store.write([Put(key=Key("p2", "c"), kind="story", body=LONG + b"!")])
        assert (await remote.store.get([Key("p2", "c")]))[0].body == LONG + b"!"  # type: ignore[union-attr]  # it is there
        assert list((await remote.bare.ensure()).actions) == ["turn on the stream, which is the change feed"]


async def test_a_table_as_aws_exports_it_is_read(local: Side, table: Harness, tmp_path: Path) -> None:
    """Every item that lies in the table, with tokens and the layout's mark: only its records come in."""
    async with await table.started() as _, side(table) as remote:
        await remote.store.write(PUTS)
        await remote.store.write([Put(key=Key("p9", "z"), kind="note")], atomic=True, token="t1")
        await asyncio.to_thread(_export, table, remote_table(table), tmp_path)
        done = await local.backups.exports.restore(tmp_path, format=FORMAT, mode="replace", bodies=remote.blobs)
        assert done.written == 5
        assert await local.state() == await remote.state()


def remote_table(harness: Harness) -> str:
    """The table's name."""
    return str(DynamodbConfig.model_validate(harness.settings()).table)


def _import(harness: Harness, config: DynamodbConfig, folder: Path, name: str) -> None:
    """Send the files to S3, and have them imported with the keys and indexes of the adapter's table."""
    s3, dynamodb = client("s3", harness), client("dynamodb", harness)
    bucket = f"exports-{config.table.lower()}"
    s3.create_bucket(Bucket=bucket)
    for path in (folder / "AWSDynamoDB").rglob("*"):
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    wanted = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
    begun = dynamodb.import_table(
        S3BucketSource={"S3Bucket": bucket, "S3KeyPrefix": f"AWSDynamoDB/{name}/data/"},
        InputFormat="DYNAMODB_JSON",
        InputCompressionType="GZIP",
        TableCreationParameters={key: value for key, value in table_definition(config).items() if key in wanted},
    )["ImportTableDescription"]
    for _ in range(200):
        found = dynamodb.describe_import(ImportArn=begun["ImportArn"])["ImportTableDescription"]
        if found["ImportStatus"] != "IN_PROGRESS":
            break

        time.sleep(0.02)
    assert (found["ImportStatus"], found["ErrorCount"], found["ImportedItemCount"]) == ("COMPLETED", 0, 6), found


def _export(harness: Harness, name: str, folder: Path) -> None:
    """What ExportTableToPointInTime makes of a table; ministack only says that it did."""
    found = client("dynamodb", harness).scan(TableName=name, ConsistentRead=True)["Items"]
    assert any(item["pk"]["S"] == "\0storycore" and item["sk"]["S"].startswith("token#") for item in found)
    content = gzip.compress(b"".join(json.dumps({"Item": _plain(item)}).encode() + b"\n" for item in found))
    home = folder / "AWSDynamoDB" / "01795406803692-a1b2c3d4"
    (home / "data").mkdir(parents=True)
    (home / "data" / "x.json.gz").write_bytes(content)
    listed = {
        "itemCount": len(found),
        "md5Checksum": b64encode(md5(content, usedforsecurity=False).digest()).decode(),
        "etag": "0-1",
        "dataFileS3Key": "AWSDynamoDB/01795406803692-a1b2c3d4/data/x.json.gz",
    }
    summary = {"exportTime": "2026-11-23T04:00:00Z", "itemCount": len(found), "outputFormat": "DYNAMODB_JSON"}
    for stem, value in (("manifest-files", listed), ("manifest-summary", summary)):
        text = json.dumps(value).encode()
        (home / f"{stem}.json").write_bytes(text)
        (home / f"{stem}.md5").write_bytes(b64encode(md5(text, usedforsecurity=False).digest()))


def _plain(value: Any) -> Any:
    """DynamoDB JSON, where bytes are Base64."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return b64encode(value).decode() if isinstance(value, bytes) else value
