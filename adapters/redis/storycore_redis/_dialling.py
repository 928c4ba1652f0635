"""How a connection is made: find the server, encrypt, log in, choose the database."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from storycore.errors import ConfigError
from storycore_redis._connection import Command, Connection, Lost, Refused, Unanswered
from storycore_redis.config import RedisConfig

__all__ = ["TRACKING_ON", "connected", "encryption", "greeted"]

TRACKING_ON: Command = ("CLIENT", "TRACKING", "ON", "NOLOOP")

_Make = Callable[[], Connection]


async def connected(config: RedisConfig, make: _Make, tls: ssl.SSLContext | None) -> Connection:
    """An open connection to the server, or to the primary that the sentinels name; nobody is logged in yet.

    Raises:
        OSError, Lost, Refused: there is no way to it.
    """
    loop = asyncio.get_running_loop()
    if config.unix_socket:
        _, connection = await loop.create_unix_connection(make, str(config.unix_socket))
        return connection
    host, port = config.host, config.port
    if config.sentinels:
        host, port = await _primary(config, make, tls)
    return await _dialled(config, make, tls, host, port)


async def greeted(connection: Connection, config: RedisConfig, *, tracking: bool) -> None:
    """Log in, choose the database and the protocol with pushes.

    Raises:
        Refused: the server does not accept one of it.
    """
    commands: list[Command] = [_hello(config.username, config.password)]
    if config.db:
        commands.append(("SELECT", config.db))
    if tracking:
        commands.append(TRACKING_ON)
    answers = await asyncio.gather(*map(connection.send, commands), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


def encryption(config: RedisConfig) -> ssl.SSLContext | None:
    """The rules of encryption; ``None``: without.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    if not config.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls_ca_file)
        context.check_hostname = config.tls_check_hostname
        if config.tls_cert_file:
            context.load_cert_chain(config.tls_cert_file, config.tls_key_file)
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(f"The certificates for {config.place} cannot be read ({exc}); check the tls_ files.") from exc
    return context


async def _dialled(config: RedisConfig, make: _Make, tls: ssl.SSLContext | None, host: str, port: int) -> Connection:
    name = config.host if tls and not config.sentinels else None
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(make, host, port, ssl=tls, server_hostname=name)
    return connection


async def _primary(config: RedisConfig, make: _Make, tls: ssl.SSLContext | None) -> tuple[str, int]:
    """Where the primary is, from the first sentinel that knows it."""
    reasons: list[str] = []
    for sentinel in config.sentinels:
        try:
            found = await _asked(config, make, tls, sentinel)
        except (OSError, Refused, Unanswered) as exc:
            reasons.append(f"{sentinel}: {exc}")
            continue
        if found:
            return found[0].decode(), int(found[1])
        reasons.append(f"{sentinel}: unknown service")
    raise Lost(f"no sentinel names a primary ({'; '.join(reasons)})", was_sent=False)


async def _asked(config: RedisConfig, make: _Make, tls: ssl.SSLContext | None, sentinel: str) -> Any:  # as it answers
    host, _, port = sentinel.rpartition(":")
    connection = await _dialled(config, make, tls, host.strip("[]"), int(port))
    try:
        await connection.send(_hello(config.sentinel_username, config.sentinel_password))
        return await connection.send(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", config.sentinel_service))
    finally:
        await connection.close()


def _hello(username: str | None, password: SecretStr | None) -> Command:
    if password is None:
        return ("HELLO", 3)
    return ("HELLO", 3, "AUTH", username or "default", password.get_secret_value())
