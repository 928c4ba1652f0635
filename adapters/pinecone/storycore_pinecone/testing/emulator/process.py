"""The process of the server: it says its address, serves, and ends with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from functools import partial

import orjson

from .knobs import Knobs
from .service import Service
from .wire import MAX_HEAD_BYTES, serve

__all__ = ["main"]

_HOST = "127.0.0.1"


def main() -> None:
    """Read the settings, one line of JSON with ``port``, ``key`` and ``knobs``, and serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both: the parent decides
    settings = orjson.loads(sys.stdin.buffer.readline())
    asyncio.run(_run(settings["port"], settings["key"], Knobs().turned(settings["knobs"])))


async def _run(port: int, key: str, knobs: Knobs) -> None:
    server = await asyncio.start_server(lambda *ends: accept(*ends), _HOST, port, limit=MAX_HEAD_BYTES)
    address = f"http://{_HOST}:{server.sockets[0].getsockname()[1]}"
    accept = partial(serve, Service(address, key, knobs))
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    await server.serve_forever()


def _end_with_the_parent() -> None:
    """Wait for the end of standard input, which comes however the parent ends; there is nothing to lose."""
    sys.stdin.buffer.read()
    os._exit(0)
