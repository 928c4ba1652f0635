"""The emulator as a child process."""

from __future__ import annotations

import importlib.util
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import orjson

from storycore.errors import ConfigError, Unavailable

__all__ = ["server"]

_PATIENCE_SECONDS: Final = 30
_GRACE_SECONDS: Final = 5
_TAIL_CHARS: Final = 2000
_RUN: Final = "import sys; sys.path.insert(0, sys.argv[1]); from emulator.process import main; main()"


@contextmanager
def server(
    *, port: int = 0, api_key: str | None = None, knobs: Mapping[str, object] | None = None
) -> Iterator[Mapping[str, object]]:
    """Start an empty Pinecone and yield the settings that lead to it; all is gone at the end.

    Args:
        port: where it listens on 127.0.0.1; 0: a free port.
        api_key: that it wants; ``None``: a random one.
        knobs: how it behaves; see ``emulator.knobs.Knobs``. ``Admin`` turns them later.

    Raises:
        ConfigError: numpy is not installed.
        Unavailable: the port is taken, or the server did not start; the message holds the end of its log.
    """
    if importlib.util.find_spec("numpy") is None:
        raise ConfigError("The local Pinecone needs numpy. Install it with: pip install 'storycore-pinecone[testing]'")
    key = api_key if api_key is not None else secrets.token_hex(16)
    with tempfile.TemporaryFile() as log:
        process = _started(log)
        try:
            address = _greeted(process, {"port": port, "key": key, "knobs": dict(knobs or {})}, log)
            yield {"endpoint_url": address, "api_key": key}
        finally:
            _stop(process)


def _started(log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A child that runs the emulator, apart from this package: it imports nothing of it."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
        [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _greeted(process: subprocess.Popen[bytes], settings: Mapping[str, object], log: IO[bytes]) -> str:
    """The address of the server, once it listens."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(settings) + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it ended at once; its log tells why
    with _impatience(process):
        said = process.stdout.readline()
    if said:
        return said.decode().strip()
    process.wait()
    log.seek(0)
    end = log.read().decode(errors="replace")[-_TAIL_CHARS:]
    where = f"port {settings['port']}" if settings["port"] else "a free port"
    raise Unavailable(f"The local Pinecone did not start on {where} of 127.0.0.1; choose another. Its log ends:\n{end}")


@contextmanager
def _impatience(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the child if the block takes too long."""
    timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the child's standard input, which ends it, and wait for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
