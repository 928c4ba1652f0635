"""The SDK as this adapter uses it: each request is sent once, nothing comes from the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pinecone import AsyncIndex, AsyncPinecone, PineconeError, RetryConfig
from pinecone.models.response_info import ResponseInfo

from storycore.errors import ConfigError
from storycore_pinecone.config import PineconeConfig

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["DEFAULT", "OneIndex", "control_plane", "data_plane", "name_of", "space_of"]

DEFAULT: Final = "__default__"
"""How the service lists the namespace that requests address when they name none."""

_ONCE: Final = RetryConfig(max_retries=0)
_HEADERS: Final = {"Accept": "application/json"}
"""With headers of our own the SDK does not look for some in the environment."""


class OneIndex(AsyncIndex):
    """The SDK's client of one index, of which a delete tells where in the log it stands.

    SDK 10.2 passes the client's retry settings to the control plane alone, and drops the answer of a delete.
    """

    def __init__(self, host: str, config: PineconeConfig) -> None:
        super().__init__(
            host=host,
            api_key=_key(config.api_key),
            timeout=config.timeout_seconds,
            additional_headers=_HEADERS,
            ssl_verify=_is_encrypted(host),
            connection_pool_maxsize=2 * config.parallel_requests,
        )
        self._http._config = replace(self._config, retry_config=_ONCE)

    async def remove(self, selector: Mapping[str, object], *, namespace: str) -> ResponseInfo:
        """Delete by ``ids``, ``filter`` or ``deleteAll``, in the service's own words."""
        response = await self._http.post("/vectors/delete", json={"namespace": namespace, **selector})
        return ResponseInfo(raw_headers=dict(response.headers))


def control_plane(config: PineconeConfig) -> AsyncPinecone:
    """The client for making and describing indexes."""
    with _configuring("endpoint_url", config.endpoint_url):
        return AsyncPinecone(
            _key(config.api_key),
            host=config.endpoint_url,
            timeout=config.timeout_seconds,
            additional_headers=_HEADERS,
            ssl_verify=_is_encrypted(config.endpoint_url),
            retry_config=_ONCE,
        )


def data_plane(host: str, config: PineconeConfig) -> OneIndex:
    """The client of the index at ``host``."""
    with _configuring("index_url", host):
        return OneIndex(host, config)


def space_of(namespace: str) -> str:
    """The service's name of a namespace: it has none for the default one."""
    return "" if namespace == "default" else namespace


def name_of(space: str) -> str:
    """The port's name of a namespace."""
    return "default" if space in ("", DEFAULT) else space


@contextmanager
def _configuring(option: str, url: str) -> Iterator[None]:
    """Raise ``ConfigError`` for an address that none can be."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError(f"{option} is an address such as https://host or http://host:port, not {url!r}.", path=option)
    try:
        yield
    except PineconeError as exc:
        raise ConfigError(f"{option} {url!r} cannot be used: {exc}", path=option) from exc


def _is_encrypted(url: str) -> bool:
    """Whether there are certificates to verify; reading the trusted ones takes 25 ms of the event loop."""
    return not url.startswith("http://")


def _key(key: SecretStr | None) -> str:
    if key is None or not key.get_secret_value().strip():
        raise ConfigError(
            "Pinecone needs an API key: set PINECONE_API_KEY, or the option api_key to a secret.", path="api_key"
        )
    found = key.get_secret_value()
    if not (found.isascii() and found.isprintable() and found == found.strip()):
        raise ConfigError(
            "The API key of Pinecone has a line break, a blank at an end or a character that no key has; "
            "copy it anew into PINECONE_API_KEY or the option api_key.",
            path="api_key",
        )
    return found
