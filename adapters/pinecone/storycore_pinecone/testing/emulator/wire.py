"""HTTP/1.1 over asyncio, as much of it as a client with kept connections and whole bodies needs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from .service import Request, Response, Service

__all__ = ["MAX_HEAD_BYTES", "serve"]

MAX_HEAD_BYTES: Final = 61_440
"""Of the first line and the headers. The documentation has no number; the service's answers name Envoy, which takes
60 KiB unless told otherwise. A fetch of many long ids meets it."""
_PATIENCE_SECONDS: Final = 1
_MAX_BODY_BYTES: Final = 64 * 1024 * 1024


async def serve(service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until it ends."""
    try:
        while (request := await _request(reader)) is not None:
            response = service.answer(request)
            if response.latency_ms:
                await asyncio.sleep(response.latency_ms / 1000)
            writer.write(_bytes(response))
            await writer.drain()
            if response.cut_at is not None or request.headers.get("connection", "").lower() == "close":
                break
    except asyncio.LimitOverrunError:
        writer.write(_bytes(Response(431, {"connection": "close"}, b"")))
        await _discard(reader)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        pass  # whoever speaks no HTTP, or goes, is not answered
    finally:
        writer.close()


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; ``None`` at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise
        return None
    first, *lines = head[:-4].split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = int(headers.get("content-length", "0"))
    if not 0 <= size <= _MAX_BODY_BYTES or "transfer-encoding" in headers:
        raise ValueError("no body of a length that is known and allowed")
    return Request(method, target, headers, await reader.readexactly(size))


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read what a client still sends, for a connection that is closed before takes the answer with it."""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await reader.read(MAX_HEAD_BYTES):
                pass


def _bytes(response: Response) -> bytes:
    if response.cut_at == 0:
        return b""
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines.append(f"content-length: {len(response.body)}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + (response.body if response.cut_at is None else response.body[: response.cut_at])


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
