"""Broken connections, answers that are lost or cut, refusals: nothing on the way makes half a blob."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.client import BaseClient

from storycore.errors import AlreadyExists, NotFound, StorycoreError, Throttled, Unavailable
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness

LARGE = bytes(range(256)) * 4096 * 16  # 16 MiB: three parts and a rest
PLACES: list[dict[str, object]] = [{}, {"bucket": "storycore-locked", "versions": True, "lock": True}]
OBJECT = ('ETag: "x"', "Last-Modified: Fri, 01 May 2026 00:00:00 GMT", "x-amz-request-id: 1")
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>slower</Message></Error>"
FAILED = b"<Error><Code>InternalError</Code><Message>no</Message></Error>"

_PATIENCE_SECONDS = 20


def reply(status: str, body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Fault:
    """What happens to the next requests of a kind.

    Args:
        head: a regular expression for the beginning of a request.
        sent: cut behind so many bytes of the request.
        answered: cut behind so many bytes of the answer.
        answer: give this instead of sending the request on.
        times: to how many requests.
    """

    head: str
    sent: int | None = None
    answered: int | None = None
    answer: bytes | None = None
    times: int = 1


@dataclass
class Network:
    """The way to one server."""

    target: tuple[str, int]
    faults: list[Fault] = field(default_factory=list)
    done: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    prefix: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def take(self, data: bytes) -> Fault | None:
        """The fault of the request that begins here, if one does."""
        if not re.match(rb"(GET|PUT|POST|HEAD|DELETE) /", data):
            return None
        line = data.partition(b"\r\n")[0].decode()
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if re.match(fault.head, line):
                    fault.times -= 1
                    self.faults = [each for each in self.faults if each.times]
                    self.done.append(fault)
                    return fault
        return None

    def run(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                thread = threading.Thread(target=self._carry, args=(near,), name="faulty-network")
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """Cut everything."""
        with self._lock:
            left = list(self._open)
        for one in left:
            _cut(one)
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    def _carry(self, near: socket.socket) -> None:
        far = socket.create_connection(self.target)
        with self._lock:
            self._open |= {near, far}
        answered: list[int | None] = [None]
        back = threading.Thread(target=_back, args=(far, near, answered), name="faulty-network")
        back.start()
        with suppress(OSError):
            self._forth(near, far, answered)
        for one in (near, far):
            _cut(one)
        back.join(_PATIENCE_SECONDS)
        near.close()
        far.close()
        with self._lock:
            self._open -= {near, far}

    def _forth(self, near: socket.socket, far: socket.socket, answered: list[int | None]) -> None:
        left: int | None = None
        while data := near.recv(65536):
            if fault := self.take(data):
                left, answered[0] = fault.sent, fault.answered
                if fault.answer is not None:
                    near.sendall(fault.answer)
                    return
            if left is not None and len(data) > left:
                far.sendall(data[:left])
                return
            left = None if left is None else left - len(data)
            far.sendall(data)


def _back(far: socket.socket, near: socket.socket, answered: list[int | None]) -> None:
    with suppress(OSError):
        while data := far.recv(65536):
            if (left := answered[0]) is not None:
                near.sendall(data[:left])
                answered[0] = left - len(data)
                if left <= len(data):
                    break
            else:
                near.sendall(data)
    for one in (near, far):
        _cut(one)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def network(served: Mapping[str, object]) -> Iterator[tuple[Network, dict[str, object]]]:
    """The network, and the settings that lead through it."""
    url = urlsplit(str(served["endpoint_url"]))
    assert url.hostname is not None
    assert url.port is not None
    made = Network((url.hostname, url.port))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=made.run, args=(listener,), name="faulty-network")
        thread.start()
        try:
            yield made, {**served, "endpoint_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        finally:
            _cut(listener)
            listener.close()
            thread.join(_PATIENCE_SECONDS)
            made.close()


@pytest.fixture
def way(server: Mapping[str, object]) -> Iterator[tuple[Network, dict[str, object]]]:
    """The network to the server that all tests share."""
    with network(server) as made:
        yield made


@asynccontextmanager
async def opened(
    way: tuple[Network, dict[str, object]], path: Path, **options: object
) -> AsyncIterator[tuple[BlobStore, Network]]:
    """A store behind the network, with few attempts and short pauses."""
    given = {"keys": "portable", "part_bytes": 5 * 1024 * 1024, "retry_base_ms": 1, "max_attempts": 3, **options}
    harness = Harness(PortName.BLOBS, "s3", given, path, served=way[1])
    store: BlobStore = await harness.started()
    way[0].requests.clear()
    way[0].prefix = str(harness.settings()["prefix"])
    yield store, way[0]
    await store.close()


def counted(network: Network, text: str) -> int:
    return sum(re.search(text, line) is not None for line in network.requests)


async def test_of_an_upload_only_the_broken_part_is_sent_again(way: Any, tmp_path: Path) -> None:
    """A connection that breaks within a part costs this part, and the blob is whole."""
    async with opened(way, tmp_path) as (store, network):
        network.faults = [Fault("PUT .*partNumber=2", sent=1_000_000, times=2)]
        info = await store.put("a", pieces(LARGE), when=ABSENT)
        assert [counted(network, rf"partNumber={number}\b") for number in range(1, 5)] == [1, 3, 1, 1]
        assert (info.size_bytes, await content_of(store, "a")) == (len(LARGE), LARGE)


async def test_an_upload_that_never_gets_through_leaves_nothing(way: Any, tmp_path: Path, raw: Any) -> None:
    """``Unavailable``, what was there stays, and the parts are removed."""
    async with opened(way, tmp_path) as (store, network):
        old = await store.put("a", b"old", when=ANY)
        network.faults = [Fault("PUT .*partNumber=3", sent=100_000, times=9)]
        with pytest.raises(Unavailable):
            await store.put("a", pieces(LARGE), when=ANY)
        assert (await store.head("a"), counted(network, r"DELETE .*uploadId=")) == (old, 1)
        assert "Uploads" not in raw.list_multipart_uploads(Bucket="storycore-kit", Prefix=network.prefix)


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["whole", "in parts"])
async def test_a_write_whose_answer_is_lost_is_known_again(way: Any, tmp_path: Path, content: bytes) -> None:
    """It is repeated, and its own first attempt is not taken for somebody else's blob."""
    async with opened(way, tmp_path) as (store, network):
        network.faults = [Fault("POST .*uploadId=" if content is LARGE else "PUT ", answered=0)]
        info = await store.put("a", pieces(content), when=ABSENT)
        assert (await store.head("a"), len(network.done)) == (info, 1)
        assert await content_of(store, "a") == content
        with pytest.raises(AlreadyExists):
            await store.put("a", pieces(content), when=ABSENT)


async def test_an_error_that_comes_as_success_is_an_error(way: Any, tmp_path: Path) -> None:
    """A completion may answer 200 and hold an error (S3: CompleteMultipartUpload); it is repeated."""
    async with opened(way, tmp_path) as (store, network):
        network.faults = [Fault("POST .*uploadId=", answer=reply("200 OK", FAILED))]
        info = await store.put("a", pieces(LARGE), when=ABSENT)
        assert (await store.head("a"), len(network.done)) == (info, 1)


@pytest.mark.parametrize("options", PLACES, ids=["without versions", "with versions"])
@pytest.mark.parametrize("answered", [0, 300, 100_000, 4_000_000])
async def test_a_download_goes_on_where_it_broke(
    way: Any, tmp_path: Path, options: dict[str, object], answered: int
) -> None:
    """Of whole blobs and of ranges; every byte comes once and in its place."""
    async with opened(way, tmp_path, **options) as (store, network):
        await store.put("a", pieces(LARGE), when=ANY)
        network.faults = [Fault("GET ", answered=answered, times=2)]
        assert await content_of(store, "a") == LARGE
        network.faults = [Fault("GET ", answered=answered)]
        assert await content_of(store, "a", start=777, length=12_000_000) == LARGE[777:12_000_777]
        assert len(network.done) == 3


@pytest.mark.parametrize("answered", [20, 250, 300, 330, 360, 390, 420, 450, 480])
async def test_headers_that_are_cut_are_asked_for_again(way: Any, tmp_path: Path, answered: int) -> None:
    """What is known of a blob is never the half of it."""
    async with opened(way, tmp_path) as (store, network):
        info = await store.put("a", b"abc", when=ANY, metadata={"k": "v"})
        network.faults = [Fault("HEAD ", answered=answered), Fault("GET ", answered=answered)]
        assert await store.head("a") == info
        async with await store.get("a") as reader:
            assert (reader.info, await reader.read()) == (info, b"abc")


@pytest.mark.parametrize("options", PLACES, ids=["without versions", "with versions"])
async def test_a_download_that_never_gets_through_ends(way: Any, tmp_path: Path, options: dict[str, object]) -> None:
    """``Unavailable`` after the last attempt, and no half is taken for the whole."""
    async with opened(way, tmp_path, **options) as (store, network):
        await store.put("a", pieces(LARGE), when=ANY)
        reader = await store.get("a")
        network.faults = [Fault("GET ", answered=0, times=1000)]
        network.close()
        with pytest.raises(Unavailable):
            await reader.read()
        await reader.close()


async def test_a_blob_that_is_replaced_while_it_is_read_stays(way: Any, tmp_path: Path) -> None:
    """Ranges of a bucket without versions that come too late are read from the first answer, or not at all."""
    async with opened(way, tmp_path) as (store, network):
        for is_cut in (False, True):
            content = LARGE * (5 if is_cut else 1)  # more than sockets and ways hold of it when it is cut
            await store.put("a", pieces(content), when=ANY)
            reader = await store.get("a")
            chunks = aiter(reader)
            begun = await anext(chunks)
            await store.put("a", b"new", when=ANY)
            if is_cut:
                network.close()
                with pytest.raises(Unavailable, match="again"):
                    await reader.read()
            else:
                assert begun + await reader.read() == content
            await reader.close()


async def test_a_server_that_asks_for_patience_is_given_it(way: Any, tmp_path: Path) -> None:
    """``SlowDown`` is waited for; a server that goes on with it is ``Throttled``, with the pause it asked for."""
    slow = reply("503 Slow Down", SLOW_DOWN, "Retry-After: 0.01")
    async with opened(way, tmp_path) as (store, network):
        network.faults = [Fault("PUT ", answer=slow, times=2)]
        info = await store.put("a", b"abc", when=ABSENT)
        network.faults = [Fault("(HEAD|PUT) ", answer=slow, times=3)]
        with pytest.raises(Throttled) as caught:
            await store.put("a", b"new", when=ANY)
        assert (caught.value.retry_after_seconds, await store.head("a")) == (0.01, info)


async def test_a_listing_that_is_cut_is_asked_for_again(way: Any, tmp_path: Path) -> None:
    """A page is never made of half an answer."""
    async with opened(way, tmp_path) as (store, network):
        keys = [f"k{i:02}" for i in range(20)]
        for key in keys:
            await store.put(key, b"", when=ANY)
        network.faults = [Fault("GET .*list-type=2", answered=1200, times=2)]
        assert [blob.key for blob in (await store.entries()).blobs] == keys
        assert len(network.done) == 2


async def test_a_blob_that_goes_while_it_is_locked_is_not_found(way: Any, tmp_path: Path) -> None:
    """Between the look at it and its lock."""
    gone = reply("404 Not Found", b"<Error><Code>NoSuchVersion</Code><Message>no</Message></Error>")
    async with opened(way, tmp_path, **PLACES[1]) as (store, network):
        await store.put("a", b"abc", when=ANY)
        network.faults = [Fault("PUT .*retention", answer=gone)]
        with pytest.raises(NotFound, match="'a'"):
            await store.lock("a", datetime(2090, 1, 1, tzinfo=UTC))


async def test_a_server_that_knows_no_ranges_is_refused(way: Any, tmp_path: Path) -> None:
    """Bytes from the beginning are not taken for those that were asked for."""
    async with opened(way, tmp_path) as (store, network):
        await store.put("a", b"0123456789", when=ANY)
        network.faults = [Fault("GET ", answer=reply("200 OK", b"0123456789", *OBJECT))]
        with pytest.raises(Unavailable, match="range"):
            await store.get("a", start=5)


async def test_an_upload_that_others_abort_is_told(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """``Unavailable``, whichever request finds it out; nothing is left."""

    async def aborted(tail: int) -> AsyncIterator[bytes]:
        yield LARGE
        for upload in raw.list_multipart_uploads(Bucket=place["Bucket"], Prefix=place["Key"])["Uploads"]:
            raw.abort_multipart_upload(**place, UploadId=upload["UploadId"])
        for _ in range(tail):
            yield LARGE

    for tail in (0, 1):
        with pytest.raises(StorycoreError) as caught:
            await store.put("a", aborted(tail), when=ANY)
        assert (type(caught.value), await store.head("a")) == (Unavailable, None)


async def test_a_put_that_is_cancelled_at_any_moment_leaves_nothing(
    store: BlobStore, raw: Any, place: dict[str, str]
) -> None:
    """Neither parts nor half a blob, wherever the task was waiting."""
    for moment in range(12):
        task = asyncio.create_task(store.put("a", pieces(LARGE[: 11 * 1024 * 1024]), when=ANY))
        await asyncio.wait([task], timeout=moment * 0.006)
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        info = await store.head("a")
        assert info is None or info.size_bytes == 11 * 1024 * 1024
        assert info is not None or isinstance(result, asyncio.CancelledError)
        await store.delete(["a"])
    assert "Uploads" not in raw.list_multipart_uploads(Bucket=place["Bucket"], Prefix=place["Key"].removesuffix("a"))


async def test_a_request_is_sent_in_its_callers_context(store: BlobStore) -> None:
    """So that whatever watches boto3, as OpenTelemetry's instrumentation does, knows on whose behalf it is sent."""
    who, seen = ContextVar("who", default=""), list[str]()
    store.native(BaseClient).meta.events.register("before-send.s3", lambda **_: seen.append(who.get()))
    who.set("ada")
    await store.put("a", LARGE, when=ANY)
    assert await content_of(store, "a") == LARGE
    assert (set(seen), len(seen) > 3) == ({"ada"}, True)
