"""The way to the service: boto3 in threads of its own, requests repeated and counted, failing in storycore's words."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from storycore.errors import ConfigError, Retry, StorycoreError, Throttled, Unavailable
from storycore.ports.environment import Environment
from storycore.ports.metering import Meter
from storycore_bedrock._errors import translated
from storycore_bedrock.config import BedrockConfig

__all__ = ["Calls", "Client", "Clients", "Usage", "gathered", "new_client"]

R = TypeVar("R")

Client = Any  # boto3 builds its clients' types at run time
Clients = Callable[[str, BedrockConfig], Client]
"""Makes a client of boto3 by the name of its service."""

_LONGEST_PAUSE_SECONDS = 30.0
_CLOSED = "The adapter 'bedrock' was closed while a request was waiting; open it again."


class Usage(Meter):
    """What the requests have consumed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Counter[str]] = defaultdict(Counter)

    def count(self, operation: str, answer: Mapping[str, Any]) -> None:
        """Add an answered request and the tokens that its headers tell."""
        tokens = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amzn-bedrock-input-token-count", "0")
        with self._lock:
            self._sums[operation].update(calls=1, tokens=int(tokens) if tokens.isdecimal() else 0)

    def consumed(self) -> Mapping[str, Mapping[str, float]]:
        """Operation of the service to its sums."""
        with self._lock:
            return {name: dict(sums) for name, sums in self._sums.items()}


class Calls:
    """One client, and everything that its requests share.

    Args:
        service: boto3's name of it.
        config: the place, the credentials, the timeouts, and how often to repeat.
        env: randomness for the pauses.
        place: names the model, for errors.
        limit: of a text, in tokens.
        clients: makes the client.
    """

    def __init__(
        self, service: str, config: BedrockConfig, env: Environment, *, place: str, limit: int, clients: Clients
    ) -> None:
        self.usage = Usage()
        self._service = service
        self._config = config
        self._env = env
        self._place = place
        self._limit = limit
        self._clients = clients
        self._opening = asyncio.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._client: Client = None
        self._rest_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    async def open(self) -> Client:
        """Make the client in a thread; nothing is sent yet."""
        async with self._opening:
            if self._client is None:
                threads = ThreadPoolExecutor(self._config.connections, thread_name_prefix="storycore-bedrock")
                try:
                    self._client = await self._translated(threads, lambda: self._clients(self._service, self._config))
                except BaseException:
                    threads.shutdown(wait=False)
                    raise
                self._threads = threads
            return self._client

    async def close(self) -> None:
        """Close the idle connections; those in use close when their answers are in."""
        threads, client, self._threads, self._client = self._threads, self._client, None, None
        if threads is not None:
            threads.submit(client.close)
            threads.shutdown(wait=False)

    async def send(self, request: Callable[[Client], R]) -> R:
        """Do a request in a thread and the caller's context, and again after a pause while that can help.

        Requests change nothing.

        Raises:
            StorycoreError: what the last attempt failed with.
        """
        for attempt in range(1, self._config.max_attempts):
            try:
                return await self._once(request)
            except StorycoreError as exc:
                if exc.retry not in (Retry.BACKOFF, Retry.AFTER) or not self.is_open:
                    raise
                self._rest(exc)
            await self._pause(attempt)
        return await self._once(request)

    async def _once(self, request: Callable[[Client], R]) -> R:
        while (rest := self._rest_until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - what is waited for is time
            await asyncio.sleep(rest)
        threads = self._threads
        if threads is None:
            raise Unavailable(_CLOSED)

        def job() -> R:
            client = self._client
            if client is None:
                raise Unavailable(_CLOSED)
            return request(client)

        return await self._translated(threads, job)

    async def _translated(self, threads: ThreadPoolExecutor, job: Callable[[], R]) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, job)
        except (ClientError, BotoCoreError) as exc:
            raise translated(exc, self._place, limit=self._limit) from exc

    def _rest(self, exc: StorycoreError) -> None:
        """Let all requests wait for as long as the service has asked one of them to."""
        if isinstance(exc, Throttled) and exc.retry_after_seconds is not None:
            pause = min(exc.retry_after_seconds, _LONGEST_PAUSE_SECONDS)
            self._rest_until = max(self._rest_until, asyncio.get_running_loop().time() + pause)

    async def _pause(self, attempt: int) -> None:
        """Full jitter below a bound that doubles."""
        bound = min(self._config.retry_base_ms / 1000 * 2 ** (attempt - 1), _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(self._env.random.uniform(0, bound))


async def gathered(jobs: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of several jobs at once; when one fails the others are cancelled."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def new_client(service: str, config: BedrockConfig) -> Client:
    """A client of boto3 whose own repetitions are off; its making blocks.

    Raises:
        ConfigError: there can be no such endpoint.
    """
    core = Session()
    core.register_component("data_loader", _loader())
    session = boto3.Session(botocore_session=core, profile_name=config.profile_name, region_name=config.region)
    try:
        return session.client(
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
            ),
        )
    except BotoCoreError:
        raise
    except ValueError as exc:  # botocore's word for an endpoint that it cannot read
        raise ConfigError(
            "There can be no such endpoint; give endpoint_url as http:// or https://, a host and a port.",
            path="endpoint_url",
        ) from exc


@cache
def _loader() -> Loader:
    """The descriptions of the services; reading them takes 50 ms and more, so a process does it once."""
    return create_loader()


def _revealed(secret: Any) -> str | None:
    return None if secret is None else secret.get_secret_value()
