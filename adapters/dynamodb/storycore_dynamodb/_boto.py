"""The way to the service over boto3's low-level client, in threads of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from typing import Any, TypeVar

import boto3
from botocore import exceptions as vendor
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from storycore.errors import Effect
from storycore_dynamodb._transport import Answer, Lost, Refused, Request
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["BotoTransport"]

T = TypeVar("T")

_STREAM_OPERATIONS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"})
_CREDENTIALS = (
    vendor.NoCredentialsError,
    vendor.PartialCredentialsError,
    vendor.CredentialRetrievalError,
    vendor.NoAuthTokenError,
    vendor.TokenRetrievalError,
    vendor.ProfileNotFound,
    vendor.UnauthorizedSSOTokenError,
    vendor.SSOTokenLoadError,
)
_NOT_SENT = (vendor.EndpointConnectionError, vendor.ConnectTimeoutError, vendor.ProxyConnectionError)


class BotoTransport:
    """boto3 with raw attribute values; its own retries are off.

    Args:
        config: the place, the credentials and the timeouts.
    """

    def __init__(self, config: DynamodbConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._core: Any = None
        self._session: Any = None
        self._clients: dict[str, Any] = {}  # boto3 builds its clients' types at run time

    async def open(self) -> object:
        """Build the client in a thread; nothing is sent yet."""
        self._threads = ThreadPoolExecutor(self._config.connections, "storycore-dynamodb")
        try:
            return await self.run(partial(self._client, "dynamodb"))
        except BaseException:
            await self.close()
            raise

    async def call(self, operation: str, request: Request) -> Answer:
        """Send one request in a thread."""
        return await self.run(partial(self._send, operation, request))

    async def close(self) -> None:
        """Close the idle connections; those in use close when their answers are in."""
        threads, self._threads = self._threads, None
        if threads is not None:
            clients, self._clients = self._clients, {}  # whoever opens again meanwhile makes new ones
            threads.submit(_close, list(clients.values()))
            threads.shutdown(wait=False)

    async def run(self, work: Callable[[], T]) -> T:
        """Do something with botocore in a thread and the caller's context; failures are in the transport's words."""
        if self._threads is None:
            raise Refused("Closed", "the connection is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        except (vendor.ClientError, vendor.BotoCoreError) as exc:
            raise _failure(exc) from exc

    def _send(self, operation: str, request: Request) -> Answer:
        client = self._client("dynamodbstreams" if operation in _STREAM_OPERATIONS else "dynamodb")
        answer: Answer = getattr(client, xform_name(operation))(**request)
        return answer

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            with self._lock:
                if service not in self._clients:
                    self._clients[service] = self.new_client(service)
        return self._clients[service]

    def new_client(self, service: str) -> Any:
        """A client like those that send the requests, for the caller to close; its making blocks."""
        config = self._config
        self._require_session()
        try:
            return self._session.client(
                service,
                endpoint_url=config.endpoint_url,
                aws_access_key_id=_revealed(config.access_key_id),
                aws_secret_access_key=_revealed(config.secret_access_key),
                aws_session_token=_revealed(config.session_token),
                config=Config(
                    retries={"total_max_attempts": 1},
                    tcp_keepalive=True,
                    max_pool_connections=config.connections,
                    connect_timeout=config.connect_timeout_seconds,
                    read_timeout=config.read_timeout_seconds,
                    parameter_validation=False,
                ),
            )
        except vendor.BotoCoreError:
            raise
        except ValueError as exc:  # botocore's word for an endpoint that it cannot read
            raise Refused("InvalidEndpoint", "there can be no such endpoint") from exc

    def core(self) -> Any:
        """botocore's session, on which all clients rest; its making blocks."""
        self._require_session()
        return self._core

    def credentials(self) -> Any:
        """What the clients sign with, in one of botocore's classes; ``None``: nothing was found. The search blocks."""
        config = self._config
        if config.access_key_id is None:
            return self.core().get_credentials()
        return Credentials(*map(_revealed, (config.access_key_id, config.secret_access_key, config.session_token)))

    def _require_session(self) -> None:
        if self._session is None:
            config, core = self._config, Session()
            core.register_component("data_loader", _loader())
            self._session = boto3.Session(
                botocore_session=core, profile_name=config.profile_name, region_name=config.region
            )
            self._core = core


def _close(clients: Sequence[Any]) -> None:
    for client in clients:
        client.close()


@cache
def _loader() -> Loader:
    """The descriptions of the services; reading them takes 50 ms, so a process does it once."""
    return create_loader()


def _revealed(secret: Any) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _failure(exc: Exception) -> Refused | Lost:
    """What a vendor error is, in the transport's two words."""
    if isinstance(exc, vendor.ClientError):
        answer = exc.response
        error = answer.get("Error", {})
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return Refused(
            str(error.get("Code", "")),
            str(error.get("Message", "")),
            answer=answer,
            retry_after_seconds=_seconds(headers.get("retry-after")),
        )
    if isinstance(exc, vendor.ProfileNotFound):
        return Refused("ProfileNotFound", "there is no such profile")
    if isinstance(exc, _CREDENTIALS):
        return Refused("NoCredentials", type(exc).__name__)
    if isinstance(exc, vendor.NoRegionError):
        return Refused("NoRegion", "no region is set")
    if isinstance(exc, vendor.InvalidRegionError):
        return Refused("InvalidRegion", "there can be no such region")
    if isinstance(exc, _NOT_SENT) or _is_distrust(exc):
        return Lost(type(exc).__name__, effect=Effect.NONE)
    return Lost(type(exc).__name__, effect=Effect.UNKNOWN, timed_out=isinstance(exc, vendor.ReadTimeoutError))


def _is_distrust(exc: Exception) -> bool:
    """Whether the service's certificate was refused; other failures of TLS may come when the request was done."""
    within = exc.kwargs.get("error") if isinstance(exc, vendor.SSLError) else None
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in getattr(within, "args", ()))


def _seconds(header: object) -> float | None:
    try:
        return float(str(header))
    except ValueError:
        return None
