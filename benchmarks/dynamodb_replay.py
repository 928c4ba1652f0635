"""A DynamoDB that answers at once: it remembers real answers of a local DynamoDB and then repeats them.

So that the client's own CPU time is what is measured. Run as a program it takes the port of the local DynamoDB,
prints its own, and serves until its standard input ends. While it learns, each request goes to the local DynamoDB, and
the last answer of each operation on each table is kept; after ``GET /replay`` requests get what is kept.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replaying"]

_TABLE = re.compile(rb'"TableName": ?"([^"]+)"')
_END = b"\r\n\r\n"


class Memory:
    """What was answered, by operation and table."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.is_learning = True
        self._answers: dict[tuple[bytes, bytes], bytes] = {}

    def answer(self, head: bytes, body: bytes) -> bytes:
        """The answer to one request, as bytes of HTTP."""
        if head.startswith(b"GET /replay"):
            self.is_learning = False
            return _response(200, b"{}")
        target = re.search(rb"(?i)x-amz-target: ?([\w.]+)", head)
        table = _TABLE.search(body)
        about = (target[1] if target else b"", table[1] if table else b"")
        if not self.is_learning and about in self._answers:
            return self._answers[about]
        found = self._asked(head, body)
        if self.is_learning:
            self._answers[about] = found
        return found

    def _asked(self, head: bytes, body: bytes) -> bytes:
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=10)
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            return _response(response.status, response.read())
        finally:
            connection.close()


class Conversation(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            head = self._buffer[:end]
            length = re.search(rb"(?i)content-length: ?(\d+)", head)
            whole = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + len(_END) : whole], self._buffer[whole:]
            self._transport.write(self._memory.answer(head, body))


def _response(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} OK\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\nx-amzn-RequestId: {'A' * 26}\r\n"
        f"x-amz-crc32: {zlib.crc32(body)}\r\nDate: Sun, 22 Nov 2026 13:00:00 GMT\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def replaying(upstream: int) -> Iterator[int]:
    """A learning server in a process of its own, for as long as the block lasts; yields its port."""
    command = [sys.executable, str(Path(__file__)), str(upstream)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


async def _serve(upstream: int) -> None:
    memory = Memory(upstream)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(memory), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
