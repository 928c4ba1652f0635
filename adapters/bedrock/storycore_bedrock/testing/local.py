"""The emulator as a child process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from storycore.errors import Unavailable

__all__ = ["server"]

_HOST: Final = "127.0.0.1"
_PATIENCE_SECONDS: Final = 30
_GRACE_SECONDS: Final = 5
_TAIL_CHARS: Final = 2000


@contextmanager
def server(*, port: int = 0) -> Iterator[Mapping[str, object]]:
    """Start a Bedrock and yield the settings that lead to it.

    Args:
        port: where it listens on 127.0.0.1; 0: a free port.

    Raises:
        Unavailable: the port is taken, or the server did not start; the message holds the end of its log.
    """
    with tempfile.TemporaryFile() as log:
        process = _started(port, log)
        try:
            yield {
                "endpoint_url": f"http://{_HOST}:{_greeted(process, port, log)}",
                "region": "us-east-1",
                "access_key_id": "test",
                "secret_access_key": "test",
            }
        finally:
            _stop(process)


def _started(port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A child that runs the emulator by its path: it imports neither storycore nor this package."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
        [sys.executable, "-P", str(Path(__file__).with_name("emulator.py")), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _greeted(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> int:
    """The port of the server, once it listens."""
    assert process.stdout is not None
    timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
    timer.start()
    try:
        said = process.stdout.readline()
    finally:
        timer.cancel()
        timer.join()
    if said:
        return int(said)
    process.wait()
    log.seek(0)
    end = log.read().decode(errors="replace")[-_TAIL_CHARS:]
    where = f"port {port}" if port else "a free port"
    raise Unavailable(f"The local Bedrock did not start on {where} of {_HOST}; choose another. Its log ends:\n{end}")


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
