"""What a port's URL says: ``sqlite:///x.db`` (relative), ``sqlite:////abs/x.db``, ``redis://user:pw@host:6379/0?ttl=5``."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from storycore.errors import ConfigError
from storycore.profiles.redaction import REFERENCE, redacted_url

__all__ = ["insert_dir", "named_options", "options_of", "scheme_of"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9_.+-]*):")
_PLACE = ("host", "port", "username", "password")


def scheme_of(url: str, *, path: str) -> str:
    """The adapter's name in a URL.

    Raises:
        ConfigError: it is not a URL, or a reference to a secret.
    """
    if url.startswith(REFERENCE):
        raise ConfigError(
            f"{path}: a whole URL cannot be a secret; give the URL without it and the secret as an option, "
            'for example {url = "redis://host:6379/0", password = "secret://env/REDIS_PASSWORD"}.',
            path=path,
        )
    match = _SCHEME.match(url)
    if match is None:
        raise ConfigError(
            f"{path}: {redacted_url(url)!r} is not a URL; the adapter's name comes first, as in "
            '"sqlite:///x.db" or "memory://".',
            path=path,
        )
    return match[1]


def insert_dir(url: str, folder: Path) -> str:
    """The URL with ``{dir}`` replaced by a folder, which may hold any character."""
    encoded = quote(folder.as_posix(), safe="/:")
    return url.replace("://{dir}", ":///{dir}").replace("{dir}", encoded)


def named_options(url: str) -> frozenset[str]:
    """The options that a URL gives a value: its parameters, and host, port, username and password where it has them."""
    parts = _split(url, path="url")
    user, _, place = parts.netloc.rpartition("@")
    present = {"host": bool(place), "port": ":" in place, "username": bool(user), "password": ":" in user}
    return frozenset({name for name, _ in parse_qsl(parts.query)} | {name for name in _PLACE if present[name]})


def options_of(url: str, *, fields: Collection[str], url_path: str, path: str) -> dict[str, object]:
    """The options in a URL, as text.

    Where the adapter's settings have a ``host``, what follows ``//`` is the server; where they have none, it is the
    beginning of the path, so that ``s3://bucket`` and ``sqlite://x.db`` say what they seem to say.

    Args:
        fields: the names of the adapter's settings.
        url_path: which of them takes the path; ``""``: a path is refused.
        path: of the setting, for errors.

    Raises:
        ConfigError: the URL holds what the adapter has no setting for, or a parameter twice.
    """
    parts = _split(url, path=path)
    if parts.fragment:
        raise ConfigError(f"{path}: a '#' in a URL is written %23.", path=path)
    found = _server(parts, path) if "host" in fields else {}
    place = _path(parts, with_netloc="host" not in fields)
    if place:
        if not url_path:
            raise ConfigError(f"{path}: {scheme_of(url, path=path)}:// takes no path.", path=path)
        found[url_path] = place
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in found:
            raise ConfigError(f"{path}: the URL gives {name!r} twice.", path=f"{path}.{name}")
        found[name] = value
    return found


def _split(url: str, *, path: str) -> SplitResult:
    """The parts of a URL; its scheme is replaced, since adapters may have names that no standard scheme can have."""
    try:
        return urlsplit(f"x:{url.partition(':')[2]}")
    except ValueError:  # its text would quote the address, with a password in it
        raise ConfigError(f"{path}: what follows // in the URL is no address.", path=path) from None


def _path(parts: SplitResult, *, with_netloc: bool) -> str:
    if with_netloc and parts.netloc:
        return unquote(parts.netloc + parts.path)
    return unquote(parts.path.removeprefix("/"))


def _server(parts: SplitResult, path: str) -> dict[str, object]:
    try:
        port = parts.port
    except ValueError:  # its text would quote the whole address, with a password in it
        raise ConfigError(f"{path}: the port in the URL is a number from 0 to 65535.", path=path) from None
    given = {"host": parts.hostname, "port": port, "username": parts.username, "password": parts.password}
    return {name: unquote(str(value)) for name, value in given.items() if value not in (None, "")}
