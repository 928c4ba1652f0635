"""Where botocore would send a request and how it would sign it, learned from a request that it makes and does not send.

So credentials, regions, endpoints, their variants and certificates are what botocore's own rules say, whatever these
come to be. Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from storycore_dynamodb._transport import Request

__all__ = ["Origin", "Unusual", "host_header", "origin_of"]

_SCOPE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/, ]+/[0-9]{8}/([^/, ]+)/([^/, ]+)/aws4_request, ")


class Unusual(Exception):
    """The settings ask for something that only boto3 can do; the text says what."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests of a service go.

    Args:
        host: a name or an address.
        port: of it.
        header: the header ``Host``.
        tls: whom to trust; ``None``: no TLS.
        region: that signatures are for.
        service: that signatures are for.
        target: what the header ``X-Amz-Target`` begins with.
    """

    host: str
    port: int
    header: str
    tls: ssl.SSLContext | None
    region: str
    service: str
    target: str


class _Rehearsed(Exception):
    """Carries a request out of botocore before it is sent."""

    def __init__(self, request: Any) -> None:  # botocore's types are made at run time
        self.request = request


def origin_of(session: Any, client: Any, operation: str, request: Request) -> Origin:
    """What botocore makes of the settings.

    Args:
        session: botocore's.
        client: of the service, used by nobody else.
        operation: a method of the client.
        request: that it could send.

    Raises:
        Unusual: only boto3 can do it.
        BotoCoreError: there are no credentials, or none that work.
    """
    made = _rehearsed(client, getattr(client, operation), request)
    url = urlsplit(made.url)
    signed = _SCOPE.match(_text(made.headers.get("Authorization", "")))
    if signed is None:
        raise Unusual("requests are not signed with version 4")
    if url.path not in ("", "/") or url.query or url.hostname is None:
        raise Unusual("the endpoint has a path")
    if client.meta.config.proxies or get_environ_proxies(made.url):
        raise Unusual("a proxy is set")
    if client.meta.config.client_cert:
        raise Unusual("a client certificate is set")
    is_tls = url.scheme == "https"
    return Origin(
        host=url.hostname,
        port=url.port or (443 if is_tls else 80),
        header=host_header(made.url),
        tls=_trust(session) if is_tls else None,
        region=signed[1],
        service=signed[2],
        target=_text(made.headers["X-Amz-Target"]).rpartition(".")[0],
    )


def host_header(url: str) -> str:
    """The header ``Host`` of a URL: without the port that its scheme has anyway."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return shown if parts.port in (None, usual) else f"{shown}:{parts.port}"


def _rehearsed(client: Any, send: Callable[..., object], request: Request) -> Any:
    def keep(request: Any, **_: object) -> None:
        raise _Rehearsed(request)

    client.meta.events.register("before-send", keep)
    try:
        send(**request)
    except _Rehearsed as rehearsed:
        return rehearsed.request
    finally:
        client.meta.events.unregister("before-send", keep)
    raise Unusual("botocore answers requests without sending them")


def _trust(session: Any) -> ssl.SSLContext:
    """The certificates that botocore trusts."""
    told = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    path = str(told or get_cert_path(True))
    is_folder = Path(path).is_dir()
    try:
        context = ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except OSError as exc:
        raise Unusual(f"the certificates of {path} cannot be read") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
