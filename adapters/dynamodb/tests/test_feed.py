"""The change feed over a stream whose shards split, close, lag and are trimmed, as the service's do at its own will."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from botocore.client import BaseClient
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb._feed import StreamFeed
from storycore_dynamodb._shards import Place
from storycore_dynamodb._transport import Answer, Refused, Request

from storycore.errors import FeedGap, InvalidArgument, NotProvisioned
from storycore.ports.entities import Action, Change, ChangePage, FeedPosition, Key, Put
from storycore.testing.harness import Harness

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:1:table/t"


@dataclass
class FakeShard:
    """A shard that holds the changes of some keys."""

    id: str
    parent: str | None
    keys: frozenset[str]
    records: list[Mapping[str, Any]] = field(default_factory=list)
    trimmed: int = 0
    is_closed: bool = False
    is_listed: bool = True
    first: str = ""


class FakeStream:
    """A transport that plays DynamoDB Streams; a test decides when shards split, are listed and are trimmed.

    Args:
        keys: the keys of the table, all in one shard at first.
        seed: decides how many records an answer holds, and when it is empty without need; ``None``: what was asked.
    """

    def __init__(self, keys: str = "abcd", *, seed: int | None = None) -> None:
        self.random = None if seed is None else random.Random(seed)
        self.numbers = itertools.count(1000)
        self.label = "2026-01-01T00:00:00.000"
        self.enabled = True
        self.shards: dict[str, FakeShard] = {}
        self.written: dict[str, int] = {}
        self.iterators_expired_before = 0
        self.calls: list[str] = []
        self.add(None, frozenset(keys))

    def add(self, parent: str | None, keys: frozenset[str]) -> FakeShard:
        """A new open shard."""
        number = next(self.numbers)
        shard = FakeShard(f"shardId-{number:020d}-{len(self.shards):08x}", parent, keys, first=f"{number:021d}")
        self.shards[shard.id] = shard
        return shard

    def write(self, key: str) -> None:
        """One more version of a key."""
        self.written[key] = self.written.get(key, 0) + 1
        image = {
            "pk": {"S": key},
            "sk": {"S": "s"},
            "_k": {"S": "kind"},
            "_v": {"N": str(self.written[key])},
            "_at": {"N": "0"},
        }
        self.tell(self.shard_of(key), {"NewImage": image})

    def shard_of(self, key: str) -> FakeShard:
        """The open shard of a key."""
        return next(each for each in self.shards.values() if key in each.keys and not each.is_closed)

    def list_all(self) -> None:
        """Let every shard be listed that holds something or may yet hold it."""
        for shard in self.shards.values():
            shard.is_listed = True

    def tell(self, shard: FakeShard, images: Mapping[str, Any], *, event: str = "MODIFY", **more: Any) -> None:
        """Add a record to a shard."""
        number = f"{next(self.numbers):021d}"
        shard.records.append({"eventName": event, "dynamodb": {"SequenceNumber": number, **images}, **more})

    def split(self, shard: FakeShard, *, into: int = 2, listed: bool = True) -> None:
        """Close a shard; its keys go on in children, which may be listed later."""
        shard.is_closed = True
        keys = sorted(shard.keys)
        for n in range(min(into, len(keys))):
            self.add(shard.id, frozenset(keys[n::into])).is_listed = listed and shard.is_listed

    def trim(self, shard: FakeShard, count: int) -> None:
        """Forget the oldest records of a shard; a closed one that holds none is forgotten too."""
        shard.trimmed = min(len(shard.records), shard.trimmed + count)
        if shard.is_closed and shard.trimmed == len(shard.records):
            shard.is_listed = False

    async def call(self, operation: str, request: Request) -> Answer:
        """Answer one request."""
        self.calls.append(operation)
        answers = {
            "DescribeTable": self.table,
            "DescribeStream": self.description,
            "GetShardIterator": self.iterator,
            "GetRecords": self.records,
        }
        return answers[operation](request)

    def table(self, request: Request) -> Answer:
        """The answer of DescribeTable."""
        arn = f"{TABLE_ARN}/stream/{self.label}"
        stream = {"LatestStreamArn": arn, "LatestStreamLabel": self.label}
        return {"Table": {"StreamSpecification": {"StreamEnabled": self.enabled}, **stream}}

    def description(self, request: Request) -> Answer:
        """The answer of DescribeStream: two shards a page."""
        start = request.get("ExclusiveStartShardId", "")
        listed = [shard for shard in self.shards.values() if shard.is_listed and shard.id > start]
        described = [
            {
                "ShardId": shard.id,
                **({"ParentShardId": shard.parent} if shard.parent else {}),
                "SequenceNumberRange": {
                    "StartingSequenceNumber": shard.first,
                    **({"EndingSequenceNumber": "9"} if shard.is_closed else {}),
                },
            }
            for shard in listed
        ]
        more = {"LastEvaluatedShardId": described[1]["ShardId"]} if len(described) > 2 else {}
        return {"StreamDescription": {"Shards": described[:2], **more}}

    def iterator(self, request: Request) -> Answer:
        """The answer of GetShardIterator."""
        shard = self.shards[request["ShardId"]]
        if not shard.is_listed:
            raise NotProvisioned("the shard is gone")
        start = request.get("SequenceNumber", "")
        numbers = [record["dynamodb"]["SequenceNumber"] for record in shard.records]
        index = {
            "TRIM_HORIZON": shard.trimmed,
            "AT_SEQUENCE_NUMBER": sum(number < start for number in numbers),
            "AFTER_SEQUENCE_NUMBER": sum(number <= start for number in numbers),
        }[request["ShardIteratorType"]]
        if index < shard.trimmed:
            raise Refused("TrimmedDataAccessException")
        return {"ShardIterator": f"{shard.id}/{index}/{next(self.numbers)}"}

    def records(self, request: Request) -> Answer:
        """The answer of GetRecords."""
        name, at, born = request["ShardIterator"].split("/")
        shard, index = self.shards[name], int(at)
        if int(born) < self.iterators_expired_before:
            raise Refused("ExpiredIteratorException")
        if index < shard.trimmed:
            raise Refused("TrimmedDataAccessException")
        limit = request["Limit"]
        count = limit if self.random is None else self.random.randint(0 if shard.is_closed else 1, limit)
        records = shard.records[index : index + count]
        end = index + len(records)
        if shard.is_closed and end == len(shard.records):
            return {"Records": records}
        return {"Records": records, "NextShardIterator": f"{name}/{end}/{next(self.numbers)}"}


def feed_of(stream: FakeStream) -> StreamFeed:
    """A reader of its own."""
    return StreamFeed("t", stream.call)


class Feed(Protocol):
    """What can be followed."""

    async def changes(self, after: FeedPosition | None, *, limit: int) -> ChangePage: ...


async def follow(feed: Feed, after: FeedPosition | None, *, limit: int = 100) -> tuple[list[Change], FeedPosition]:
    """All changes behind a position, and the place behind them; one empty page may mean that some are on the way."""
    found: list[Change] = []
    empty = 0
    while empty < 20:
        page = await feed.changes(after, limit=limit)
        assert len(page.changes) <= limit
        found += page.changes
        after = page.next
        empty = 0 if page.changes else empty + 1
    return found, page.next


def versions(changes: list[Change]) -> dict[str, list[int]]:
    """What was told of each key, in the order in which it was told."""
    told: dict[str, list[int]] = {}
    for change in changes:
        told.setdefault(change.key.pk, []).append(change.version)
    return told


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "split", "roll", "late", "list", "read", "restart", "expire"]),
        st.integers(0, 7),
    ),
    min_size=20,
    max_size=60,
)


def step(stream: FakeStream, name: str, number: int) -> None:
    """One thing that happens to a stream while somebody reads it."""
    alive = [shard for shard in stream.shards.values() if not shard.is_closed]
    shard = alive[number % len(alive)]
    if name == "write":
        stream.write("abcdefgh"[number])
    elif name in ("split", "roll", "late"):
        stream.split(shard, into=1 if name == "roll" else 2, listed=name != "late")
    elif name == "list":
        stream.list_all()
    elif name == "expire":
        stream.iterators_expired_before = next(stream.numbers)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_STEPS, st.integers(0, 1000), st.sampled_from([1, 2, 3, 100]))
def test_each_key_is_told_whole_and_in_order(steps: list[tuple[str, int]], seed: int, limit: int) -> None:
    """Whatever tree the shards make, however they are listed and read: no key is reordered, lost or told twice."""

    async def run() -> None:
        stream = FakeStream("abcdefgh", seed=seed)
        feed, after = feed_of(stream), None
        told: list[Change] = []
        for name, number in steps:
            step(stream, name, number)
            if name == "read":
                page = await feed.changes(after, limit=limit)
                told, after = [*told, *page.changes], page.next
            elif name == "restart":
                feed = feed_of(stream)
        stream.list_all()
        rest, _ = await follow(feed, after, limit=limit)
        assert {key: list(range(1, n + 1)) for key, n in stream.written.items()} == versions(told + rest)

    asyncio.run(run())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_STEPS, st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=12))
def test_what_is_trimmed_is_never_lost_in_silence(
    steps: list[tuple[str, int]], seed: int, trims: list[tuple[int, int]]
) -> None:
    """A reader whose place is trimmed hears ``FeedGap``, or has missed nothing."""

    async def run() -> None:
        stream = FakeStream("abcdefgh", seed=seed)
        after = (await feed_of(stream).changes(None, limit=100)).next
        for name, number in steps:
            step(stream, name, number)
        stream.list_all()
        for which, count in trims:
            shards = list(stream.shards.values())
            stream.trim(shards[which % len(shards)], count)
        try:
            told, _ = await follow(feed_of(stream), after)
        except FeedGap:
            assert any(shard.trimmed or not shard.is_listed for shard in stream.shards.values())
        else:
            assert {key: list(range(1, n + 1)) for key, n in stream.written.items()} == versions(told)

    asyncio.run(run())


@settings(max_examples=15, deadline=None, derandomize=True)
@given(_STEPS, st.integers(0, 1000), st.sampled_from([1, 3, 100]))
def test_behind_each_change_come_exactly_the_later_ones(steps: list[tuple[str, int]], seed: int, limit: int) -> None:
    """The positions within a page are places to go on from, also across shards."""

    async def run() -> None:
        stream = FakeStream("abcdefgh", seed=seed)
        for name, number in steps:
            step(stream, name, number)
        stream.list_all()
        told, _ = await follow(feed_of(stream), None, limit=limit)
        for i, change in enumerate(told[:5]):
            later, _ = await follow(feed_of(stream), change.position)
            assert versions(told[i + 1 :]) == versions(later)

    asyncio.run(run())


async def test_all_open_shards_are_read_in_turn() -> None:
    """A busy shard does not starve another one, also when a page has room for one change only."""
    stream = FakeStream("ab")
    stream.split(stream.shard_of("a"))
    for _ in range(50):
        stream.write("a")
    stream.write("b")
    feed, after, told = feed_of(stream), None, []
    for _ in range(4):
        page = await feed.changes(after, limit=1)
        told, after = [*told, *page.changes], page.next
    assert {change.key.pk for change in told} == {"a", "b"}


async def test_iterators_are_kept_between_calls() -> None:
    """Going on at the end costs one request."""
    stream = FakeStream()
    feed = feed_of(stream)
    after = (await feed.changes(None, limit=10)).next
    stream.calls.clear()
    for _ in range(3):
        stream.write("a")
        page = await feed.changes(after, limit=1)
        after = page.next
    assert stream.calls == ["GetRecords"] * 3


async def test_a_new_stream_is_a_gap() -> None:
    """When the stream was turned off and on, what was written in between is nowhere."""
    stream = FakeStream()
    feed = feed_of(stream)
    after = (await feed.changes(None, limit=10)).next
    stream.split(old := stream.shard_of("a"), into=0)
    old.is_listed = False
    stream.label = "2026-01-02T00:00:00.000"
    stream.add(None, frozenset("abcd"))
    stream.write("a")
    for reader in (feed_of(stream), feed):
        with pytest.raises(FeedGap):
            await reader.changes(after, limit=10)
        assert len((await reader.changes(None, limit=10)).changes) == 1


async def test_a_table_without_a_stream_says_so() -> None:
    """The cure is in the message."""
    stream = FakeStream()
    stream.enabled = False
    with pytest.raises(NotProvisioned, match="ensure"):
        await feed_of(stream).changes(None, limit=10)


async def test_a_position_of_another_table_is_refused() -> None:
    """It is not taken for a place of this stream, even when the streams have one label."""
    stream = FakeStream()
    page = await feed_of(stream).changes(None, limit=10)
    foreign = Place("0" * 16, stream.label, Place.from_text(page.next, table=page.next[11:27]).marks).text()
    with pytest.raises(InvalidArgument, match="another table"):
        await feed_of(stream).changes(FeedPosition(foreign), limit=10)


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_damaged_position_is_refused(data: st.DataObject) -> None:
    """A position is read back as it was written, and one changed character is noticed."""
    marks = st.sampled_from(["", "!", "@17", "000000000000000000042"])
    names = st.from_regex(r"shardId-[0-9]{1,20}-[0-9a-f]{8}", fullmatch=True)
    place = Place("0123456789abcdef", "2026-01-01T00:00:00.000", data.draw(st.dictionaries(names, marks, max_size=5)))
    text = place.text()
    assert Place.from_text(text, table=place.table) == place
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters(exclude_characters=text[at])) + text[at + 1 :]
    with pytest.raises(InvalidArgument):
        Place.from_text(damaged, table=place.table)


async def test_removals_are_told_by_what_removed_them() -> None:
    """A delete is a delete; what the sweep marked, or the service's own expiry removed, has expired."""
    stream = FakeStream("a")
    shard = stream.shard_of("a")
    when = datetime(2026, 3, 1, tzinfo=UTC)
    image = {"pk": {"S": "a"}, "sk": {"S": "s"}, "_k": {"S": "kind"}, "_v": {"N": "7"}, "_at": {"N": "0"}}
    told = {"ApproximateCreationDateTime": when, "OldImage": image}
    stream.tell(shard, told, event="REMOVE")
    stream.tell(shard, {"NewImage": {**image, "_gone": {"BOOL": True}}, "OldImage": image})
    stream.tell(shard, {**told, "OldImage": {**image, "_gone": {"BOOL": True}}}, event="REMOVE")
    service = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
    stream.tell(shard, {**told, "ApproximateCreationDateTime": when.timestamp()}, event="REMOVE", userIdentity=service)
    changes, _ = await follow(feed_of(stream), None)
    assert [change.action for change in changes] == [Action.DELETE, Action.EXPIRE, Action.EXPIRE]
    assert {(Key("a", "s"), "kind", 7, when, None)} == {(c.key, c.kind, c.version, c.at, c.record) for c in changes}


async def test_what_is_the_adapters_own_is_not_told() -> None:
    """Items of the reserved partition, and items that storycore did not write, only move the position."""
    stream = FakeStream("a")
    shard = stream.shard_of("a")
    stream.tell(shard, {"NewImage": {"pk": {"S": "\0storycore"}, "sk": {"S": "t"}, "_k": {"S": "token"}}})
    stream.tell(shard, {"NewImage": {"pk": {"S": "foreign"}, "sk": {"S": "t"}}})
    stream.write("a")
    page = await feed_of(stream).changes(None, limit=1)
    assert [change.key.pk for change in page.changes] == ["a"]


async def test_a_stream_without_images_says_what_is_wrong() -> None:
    """Keys alone do not tell a change."""
    stream = FakeStream("a")
    stream.tell(stream.shard_of("a"), {"StreamViewType": "KEYS_ONLY"})
    with pytest.raises(NotProvisioned, match="KEYS_ONLY"):
        await feed_of(stream).changes(None, limit=1)


async def test_on_a_server_a_stream_that_was_off_is_a_gap(harness: Harness) -> None:
    """While it is off there is no feed; once it is on again, the changes from then on are told."""
    async with await harness.started() as store:
        await store.write([Put(key=Key("p", "a"), kind="k")])
        (told,) = (await store.changes()).changes
        client, table = store.native(BaseClient), str(harness.settings()["table"])
        client.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
        with pytest.raises(NotProvisioned, match="has no stream"):
            await store.changes()
        await store.write([Put(key=Key("p", "b"), kind="k")])
        assert any("stream" in action for action in (await store.ensure()).actions)
        with pytest.raises(FeedGap):
            await follow(store, told.position)
        await store.write([Put(key=Key("p", "c"), kind="k")])
        assert [change.key.sk for change in (await store.changes()).changes] == ["c"]


async def test_what_is_trimmed_from_a_shard_that_waits_is_a_gap() -> None:
    """A child that nobody has begun to read is not begun at the oldest change that it still has."""
    stream = FakeStream("a")
    root = stream.shard_of("a")
    stream.write("a")
    stream.split(root)
    after = (await feed_of(stream).changes(None, limit=10)).next
    stream.write("a")
    stream.write("a")
    assert [change.version for change in (await feed_of(stream).changes(after, limit=10)).changes] == [2, 3]
    stream.trim(stream.shard_of("a"), 1)
    with pytest.raises(FeedGap):
        await feed_of(stream).changes(after, limit=10)


async def test_from_the_start_the_oldest_that_is_kept_is_told() -> None:
    """What has been trimmed before is no gap for a reader without a position, but what is trimmed afterwards is."""
    stream = FakeStream("a")
    for _ in range(3):
        stream.write("a")
    stream.trim(stream.shard_of("a"), 1)
    page = await feed_of(stream).changes(None, limit=1)
    assert [change.version for change in page.changes] == [2]
    stream.trim(stream.shard_of("a"), 2)
    with pytest.raises(FeedGap):
        stream.write("a")
        await feed_of(stream).changes(page.next, limit=10)
