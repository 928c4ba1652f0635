"""What a server, a network or a caller can do to a request over the lean transport, and what it is then called."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from zlib import crc32

import pytest
import pytest_asyncio
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._lean import LeanTransport
from storycore_dynamodb._transport import Lost, Refused, Transport
from storycore_dynamodb.config import DynamodbConfig

from storycore.errors import Effect

Step = Callable[[asyncio.StreamWriter], Awaitable[None]]
PUT = ("PutItem", {"TableName": "t", "Item": {"pk": {"S": "p"}}})


class ScriptedServer:
    """Answers each request with the next step of its script, and keeps what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.script: list[Step] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self.heard = asyncio.Event()
        self.tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def close(self) -> None:
        """End all connections."""
        for writer in self.tasks.values():
            writer.transport.abort()
        await asyncio.gather(*self.tasks)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own."""
        self.tasks[asyncio.create_task(self.serve(reader, writer))] = writer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until a step or the client ends it."""
        self.connections += 1
        self.open_connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                self.requests.append(head + await reader.readexactly(int(length.split(b":")[1])))
                self.heard.set()
                await (self.script.pop(0) if self.script else says(answer(b"{}")))(writer)
        self.open_connections -= 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def answer(body: bytes, *headers: str, status: str = "200 OK", crc: int | None = None) -> bytes:
    """An answer with its length and checksum."""
    lines = [f"HTTP/1.1 {status}", f"x-amz-crc32: {crc32(body) if crc is None else crc}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(*pieces: bytes, pause: float = 0.0, then_close: bool = False) -> Step:
    """Send the pieces, pausing between them."""

    async def step(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if then_close:
            writer.close()

    return step


async def resets(writer: asyncio.StreamWriter) -> None:
    """End the connection at once."""
    writer.transport.abort()


async def keeps_silent(writer: asyncio.StreamWriter) -> None:
    """Never answer, until the client has enough."""
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A server on this event loop."""
    scripted = ScriptedServer()
    async with await asyncio.start_server(scripted.accept, "127.0.0.1", 0) as listening:
        scripted.port = listening.sockets[0].getsockname()[1]
        yield scripted
        await scripted.close()


def config_for(server: ScriptedServer, **settings: object) -> DynamodbConfig:
    """Settings that lead to the server and do not wait for long."""
    given = {"table": "tab", "region": "r-1", "access_key_id": "a", "secret_access_key": "s"}
    place = {"endpoint_url": f"http://127.0.0.1:{server.port}", "read_timeout_seconds": 0.1}
    return DynamodbConfig.model_validate({**given, **place, **settings})


@pytest_asyncio.fixture
async def lean(server: ScriptedServer) -> AsyncIterator[LeanTransport]:
    """The lean transport, open, with room for two connections."""
    transport = LeanTransport(config_for(server, connections=2))
    await transport.open()
    assert transport.detour is None
    yield transport
    await transport.close()


async def said(transport: Transport) -> object:
    """What came of one write."""
    try:
        return await transport.call(*PUT)
    except Refused as refused:
        return refused.code, refused.message, refused.retry_after_seconds
    except Lost as lost:
        return lost.effect, lost.timed_out


LOST = (Effect.UNKNOWN, False)
ERROR = b'{"__type": "com.amazon#ThrottlingException:http://x/", "message": "slow"}'
CHUNKED = "Transfer-Encoding: chunked"
FAULTS = {
    "reset": (resets, LOST),
    "closed before the answer": (says(then_close=True), LOST),
    "cut in the body": (says(answer(b"{}", "Content-Length: 9"), then_close=True), LOST),
    "cut in a chunk": (says(answer(b"5\r\n{}", CHUNKED), then_close=True), LOST),
    "silent": (keeps_silent, (Effect.UNKNOWN, True)),
    "silent in the body": (says(answer(b"{}", "Content-Length: 9"), pause=0.15), (Effect.UNKNOWN, True)),
    "another protocol": (says(b"SSH-2.0-OpenSSH\r\n\r\n\r\n", then_close=True), LOST),
    "wrong checksum": (says(answer(b"{}", crc=1)), LOST),
    "throttled": (says(answer(ERROR, status="400 Bad")), ("ThrottlingException", "slow", None)),
    "throttled with a pause": (
        says(answer(ERROR, "Retry-After: 7", status="400 Bad")),
        ("ThrottlingException", "slow", 7.0),
    ),
    "error with another message": (
        says(answer(b'{"__type":"a#B","Message":"m"}', status="400 Bad")),
        ("B", "m", None),
    ),
    "error without a type": (says(answer(b'{"message":"m"}', status="403 No")), ("403", "m", None)),
    "error that is text": (says(answer(b"no JSON", status="502 Bad Gateway")), ("502", "no JSON", None)),
    "error of a proxy": (says(answer(b" <html>", status="503 X")), ("503", "Service Unavailable", None)),
    "error without a body": (says(answer(b"", status="500 X")), ("500", "Internal Server Error", None)),
    "moved": (says(answer(b"", "Location: http://x/", status="307 Moved")), ("307", "", None)),
}


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_faults_are_called_what_they_are_over_boto3(server: ScriptedServer, fault: str) -> None:
    """The same bytes on the wire are the same refusal or the same loss over both transports."""
    step, expected = FAULTS[fault]
    results = []
    for transport in (LeanTransport(config_for(server)), BotoTransport(config_for(server))):
        await transport.open()
        server.script = [step]
        results.append(await said(transport))
        await transport.close()
    assert results == [expected, expected]


@pytest.mark.parametrize(
    "step",
    [
        says(b"HTTP/1.1 200 OK\r\nContent-", then_close=True),
        says(b"HTTP/1.1 200 OK\r\n\r\n{}", then_close=True),
        says(answer(b"[]")),
        says(answer(b"{")),
        says(answer(b'{"Item": {"d": {"B": "a"}}}')),
        says(answer(b"{}", "Content-Encoding: gzip")),
    ],
)
async def test_what_cannot_be_believed_is_lost(server: ScriptedServer, lean: LeanTransport, step: Step) -> None:
    """Heads that are cut, answers of no length, another shape or another coding, of which boto3 lets some pass."""
    server.script = [step]
    assert await said(lean) == LOST
    assert await said(lean) == {}


async def test_chunks_are_an_answer_too(server: ScriptedServer, lean: LeanTransport) -> None:
    """However they arrive; the connection is used again."""
    body = b'{"Item": {"d": {"B": "AP8="}}}'
    data = answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), CHUNKED, crc=crc32(body))
    server.script = [says(*(data[n : n + 1] for n in range(len(data))))]
    assert await said(lean) == {"Item": {"d": {"B": b"\0\xff"}}}
    assert await said(lean) == {}
    assert server.connections == 1


async def test_silence_is_measured_between_bytes(server: ScriptedServer, lean: LeanTransport) -> None:
    """An answer that keeps coming may take longer than the read timeout in all."""
    data = answer(b"{}")
    server.script = [says(*(data[n : n + 20] for n in range(0, len(data), 20)), pause=0.04)]
    assert await said(lean) == {}


async def test_a_connection_that_the_server_closed_is_not_written_to(
    server: ScriptedServer, lean: LeanTransport
) -> None:
    """Neither while the event loop runs, nor when it could not look for a while."""
    server.script = [says(answer(b"{}"), then_close=True)]
    assert await said(lean) == {}
    await asyncio.sleep(0.01)
    server.script = [says(answer(b"{}"), then_close=True)]
    assert await said(lean) == {}
    time.sleep(0.06)
    assert await said(lean) == {}
    assert (server.connections, len(server.requests)) == (3, 3)


async def test_a_connection_that_dies_under_a_request_leaves_it_in_doubt(
    server: ScriptedServer, lean: LeanTransport
) -> None:
    """The request may have been read, so it is not sent again, although the connection had been in use before."""
    assert await said(lean) == {}
    server.script = [resets]
    assert await said(lean) == LOST
    assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.parametrize("end", ["Connection: close", "X: y"])
async def test_a_connection_is_used_again_only_if_the_answer_says_so(
    server: ScriptedServer, lean: LeanTransport, end: str
) -> None:
    """Nor is it when more arrives than was asked for."""
    extra = b"HTTP/1.1 200 OK\r\n" if end == "X: y" else b""
    server.script = [says(answer(b"{}", end) + extra)]
    assert await said(lean) == {}
    assert await said(lean) == {}
    assert server.connections == 2


async def test_bytes_without_a_request_end_the_connection(server: ScriptedServer, lean: LeanTransport) -> None:
    """An answer that nobody asked for is never taken for the next one."""
    server.script = [says(answer(b'{"Item": {}}'), answer(b'{"Item": {"forged": {"S": "x"}}}'), pause=0.01)]
    assert await said(lean) == {"Item": {}}
    await asyncio.sleep(0.03)
    assert await said(lean) == {}
    assert server.connections == 2


async def test_a_cancelled_call_closes_its_connection(server: ScriptedServer, lean: LeanTransport) -> None:
    """Its answer cannot reach anybody else, and its place is free again."""
    server.script = [keeps_silent] * 2
    calls = [asyncio.create_task(lean.call(*PUT)) for _ in range(2)]
    waiting = asyncio.create_task(lean.call(*PUT))
    while len(server.requests) < 2:
        await asyncio.sleep(0.001)
    assert server.connections == 2
    for call in calls:
        call.cancel()
    assert await waiting == {}
    assert [type(result) for result in await asyncio.gather(*calls, return_exceptions=True)] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
    ]
    assert server.connections == 3


async def test_a_call_that_is_cancelled_before_it_is_sent_leaves_no_connection(
    server: ScriptedServer, lean: LeanTransport
) -> None:
    """Not even in the moment in which it looks whether the connection still stands."""
    for turns in range(4):
        assert await said(lean) == {}
        await asyncio.sleep(0.06)
        call = asyncio.create_task(lean.call(*PUT))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await asyncio.sleep(0.01)
        assert server.open_connections == (0 if turns else 1)


async def test_there_are_never_more_connections_than_allowed(server: ScriptedServer, lean: LeanTransport) -> None:
    """64 calls at once take turns on two connections, which stay."""
    server.script = [says(answer(b"{}"), pause=0.001)] * 64
    assert await asyncio.gather(*(said(lean) for _ in range(64))) == [{}] * 64
    assert (server.connections, len(server.requests)) == (2, 64)


async def test_closing_lets_requests_come_to_their_end(server: ScriptedServer, lean: LeanTransport) -> None:
    """What is under way is answered, what waits is told, and then no connection is left."""
    assert await said(lean) == {}
    data = answer(b'{"Attributes": {}}')
    server.script = [says(data[:9], data[9:], pause=0.02)] * 2
    server.heard.clear()
    calls = [asyncio.create_task(said(lean)) for _ in range(3)]
    await server.heard.wait()
    await lean.close()
    results = await asyncio.gather(*calls)
    assert results == [{"Attributes": {}}, {"Attributes": {}}, ("Closed", "the connection is closed", None)]
    for _ in range(50):
        if not server.open_connections:
            break
        await asyncio.sleep(0.005)
    assert server.open_connections == 0


async def test_an_address_that_refuses_has_done_nothing(server: ScriptedServer) -> None:
    """Not connected means not sent."""
    transport = LeanTransport(config_for(server, endpoint_url="http://127.0.0.1:9"))
    await transport.open()
    assert await said(transport) == (Effect.NONE, False)
    await transport.close()


async def test_a_request_says_who_sends_it_and_what_it_asks(server: ScriptedServer, lean: LeanTransport) -> None:
    """The target, the type, the signature's scope and names, and the JSON of boto3."""
    await lean.call("PutItem", {"TableName": "t", "Item": {"d": {"B": b"\0\xff"}, "m": {"BS": [bytearray(b"a")]}}})
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"TableName":"t","Item":{"d":{"B":"AP8="},"m":{"BS":["YQ=="]}}}'
    assert b"X-Amz-Target: DynamoDB_20120810.PutItem\r\n" in head
    assert b"/r-1/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, " in head
    with pytest.raises(Refused, match="Serialization"):
        await lean.call("PutItem", {"Item": object()})


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but its own file vouches for, with its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    names = ["-subj", "/CN=storycore test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run([openssl, "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    return tmp_path / "cert.pem"


@pytest_asyncio.fixture
async def tls_server(certificate: Path) -> AsyncIterator[ScriptedServer]:
    """A server with that certificate."""
    scripted = ScriptedServer()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    async with await asyncio.start_server(scripted.accept, "127.0.0.1", 0, ssl=context) as listening:
        scripted.port = listening.sockets[0].getsockname()[1]
        yield scripted
        await scripted.close()


def tls_config(server: ScriptedServer, host: str = "127.0.0.1") -> DynamodbConfig:
    """Settings that lead to the server by TLS."""
    return config_for(server, endpoint_url=f"https://{host}:{server.port}", read_timeout_seconds=2)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
async def test_a_certificate_is_trusted_when_the_bundle_says_so(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, tls_server: ScriptedServer, variable: str
) -> None:
    """As boto3 reads the environment; the connection is kept."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(certificate))
    transport = LeanTransport(tls_config(tls_server))
    await transport.open()
    assert transport.detour is None
    assert [await said(transport) for _ in range(3)] == [{}, {}, {}]
    assert tls_server.connections == 1
    await transport.close()


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_certificate_is_checked(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, tls_server: ScriptedServer, is_trusted: bool
) -> None:
    """Neither an unknown one nor one of another name is talked to, so nothing has been sent."""
    if is_trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    transport = LeanTransport(tls_config(tls_server, "localhost" if is_trusted else "127.0.0.1"))
    await transport.open()
    assert await said(transport) == (Effect.NONE, False)
    assert tls_server.requests == []
    await transport.close()
