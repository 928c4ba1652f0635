"""A DynamoDB on this machine, for tests and for development: ministack, as a child process.

Needs the extra ``testing``: ``pip install 'storycore-dynamodb[testing]'``. The server listens on the loopback
interface alone and keeps everything in memory; it ends with the process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from storycore.errors import ConfigError, Unavailable

__all__ = ["server"]

_HOST: Final = "127.0.0.1"
_REGION: Final = "us-east-1"
_SERVICES: Final = "dynamodb,dynamodbstreams,cloudformation,s3"
_PATIENCE_SECONDS: Final = 60
_GRACE_SECONDS: Final = 5
_TAIL_CHARS: Final = 2000
_SETTLED: Final = (
    *("SERVICES", "BIND_HOST", "GATEWAY_PORT", "EDGE_PORT", "PERSIST_STATE", "LOCALSTACK_PERSISTENCE", "USE_SSL"),
    *("AUTH", "LOG_LEVEL", "TMPDIR", "CLOUDTRAIL_RECORDING", "IOT_MTLS_ENABLED", "SFTP_ENABLED"),
)


@contextmanager
def server(*, port: int = 0) -> Iterator[Mapping[str, object]]:
    """Start an empty DynamoDB and yield the settings with which the adapter reaches it; all is gone at the end.

    Args:
        port: where it listens on 127.0.0.1; 0: a free port.

    Raises:
        ConfigError: ministack is not installed.
        Unavailable: the port is taken, or the server did not start; the message holds the end of its log.
    """
    if importlib.util.find_spec("ministack") is None:
        raise ConfigError(
            "The local DynamoDB needs ministack. Install it with: pip install 'storycore-dynamodb[testing]'"
        )
    with tempfile.TemporaryDirectory(prefix="storycore-dynamodb-", ignore_cleanup_errors=True) as folder:
        chosen = _free_port(port)
        process = _started(chosen, Path(folder))
        try:
            _wait(process, chosen, Path(folder) / "log")
            yield {
                "endpoint_url": f"http://{_HOST}:{chosen}",
                "region": _REGION,
                "access_key_id": "test",
                "secret_access_key": "test",
            }
        finally:
            _stop(process)


def _free_port(wanted: int) -> int:
    """The wanted port, once it is known that nothing listens there; 0 stands for any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError as exc:
            raise Unavailable(f"Port {wanted} of {_HOST} is taken ({exc.strerror}); choose another one.") from exc
        port: int = probe.getsockname()[1]
        return port


def _started(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """The child, on its own settings whatever the environment says."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in _SETTLED and not name.startswith(("MINISTACK_", "AWS_"))
    }
    settled = {"BIND_HOST": _HOST, "GATEWAY_PORT": str(port), "SERVICES": _SERVICES, "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-P", str(Path(__file__).with_name("_emulator.py")), str(folder)],
            env={**environ, **settled, "MINISTACK_REGION": _REGION},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the server answers."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if _answers(port):
            return
        time.sleep(0.02)
    end = log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:]
    raise Unavailable(f"The local DynamoDB did not start on {_HOST}:{port}; choose another port. Its log ends:\n{end}")


def _answers(port: int) -> bool:
    connection = HTTPConnection(_HOST, port, timeout=_GRACE_SECONDS)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child by its id, and wait for it."""
    assert process.stdin is not None
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()
