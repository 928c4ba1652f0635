"""Requests to the service: in threads, repeated within a budget, and failing in storycore's words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from typing import Any, Final, TypeVar

import boto3
from botocore import exceptions as vendor
from botocore.config import Config
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from storycore.errors import Effect, StorycoreError, Unavailable
from storycore.ports.environment import Environment
from storycore_s3._errors import Treatment, is_answer, translated, treatment
from storycore_s3._failures import VENDOR, Lost, Refused, failure_of
from storycore_s3._threads import Threads
from storycore_s3.config import S3Config

__all__ = ["Calls"]

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS: Final = 5.0
_OF_OBJECTS: Final = frozenset({"get_object", "head_object"})
_ALWAYS: Final = {"content-length", "etag", "last-modified"}
_REQUEST: Final = "x-amz-request-id"
_LARGE_BYTES: Final = 1024 * 1024
_READS: Final = ("get_", "head_", "list_")


class Budget:
    """How many repetitions a store may still afford, so that a service in trouble is not asked ever more.

    Every repetition costs; every success pays a little back (AWS SDKs: standard retry mode, 500 tokens).
    """

    _FULL: Final = 500
    _COST: Final = 5

    def __init__(self) -> None:
        self._left = self._FULL

    def take(self) -> bool:
        """Pay for a repetition; ``False`` when nothing is left."""
        if self._left < self._COST:
            return False
        self._left -= self._COST
        return True

    def succeeded(self) -> None:
        """Count a request that was answered."""
        self._left = min(self._FULL, self._left + 1)


class Calls:
    """boto3's client of one bucket; its own retries are off.

    Args:
        config: the place, the credentials, the timeouts and how often to repeat.
        env: randomness for the pauses.
    """

    def __init__(self, config: S3Config, env: Environment) -> None:
        self.threads = Threads(config.connections)
        self._config = config
        self._env = env
        self._budget = Budget()
        self._lock = threading.Lock()
        self._client: Any = None  # boto3 builds its clients' types at run time
        self._names_requests = False
        self._looks = threading.local()
        self._place = f"The bucket {config.bucket!r}"

    @property
    def client(self) -> Any:
        """The client; its making blocks, its first use included."""
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    async def send(
        self,
        operation: str,
        *,
        undo: Callable[[Any], None] | None = None,
        about: str = "",
        **request: Any,
    ) -> Any:  # an answer of botocore, made at run time
        """Send a request to the bucket, again and again within the budget.

        Args:
            operation: the client's method, for example ``"get_object"``.
            undo: takes an answer that nobody will see.
            about: the blob, for messages.

        Raises:
            Refused: with one of the codes that are answers; its effect tells of the attempts before.
            StorycoreError: anything else; of a write that may have been done the effect is ``UNKNOWN``.
        """
        return await self.answer(operation, undo=undo, about=about, **request)

    async def answer(
        self,
        operation: str,
        *,
        answers: Collection[str] = (),
        undo: Callable[[Any], None] | None = None,
        about: str = "",
        **request: Any,
    ) -> Any:  # as above
        """As ``send``, with more codes that are answers."""
        call = partial(self._sent, operation, {"Bucket": self._config.bucket, **request})
        effect, attempt = Effect.NONE, 0
        while True:
            attempt += 1
            try:
                answer = await self.threads.run(call, undo=undo)
            except (Refused, Lost) as failure:
                effect = _worse(effect, operation, failure)
                if isinstance(failure, Refused) and (is_answer(failure) or failure.code in answers):
                    self._budget.succeeded()
                    failure.effect = effect
                    raise
                if treatment(failure) is Treatment.FINAL or not self._affords(attempt):
                    raise self.translated(failure, about, effect=effect) from failure
                await self.pause(attempt, getattr(failure, "retry_after_seconds", None))
            else:
                self._budget.succeeded()
                return answer

    async def region(self) -> str | None:
        """The region that the client has found."""
        found: str | None = await self.threads.run(lambda: self.client.meta.region_name)
        return found

    def translated(self, failure: Refused | Lost, about: str = "", *, effect: Effect = Effect.NONE) -> StorycoreError:
        """The storycore error for a failure that its sender could not answer."""
        error = translated(failure, f"{self._place}{about and f', {about}'}", effect=effect)
        if effect is Effect.UNKNOWN:  # an earlier attempt may have been done, whatever the last one was
            error.effect = effect
        return error

    def raced(self, about: str) -> StorycoreError:
        """The error after so many lost races that going on would be rude."""
        return Unavailable(f"{self._place}, {about}: every race against other writers was lost; try again later.")

    async def pause(self, attempt: int, asked: float | None = None) -> None:
        """Wait before a repetition: full jitter under a ceiling that doubles, and what the service asks for on top."""
        ceiling = min(_LONGEST_PAUSE_SECONDS, self._config.retry_base_ms / 1000 * 2 ** (attempt - 1))
        await asyncio.sleep((asked or 0.0) + self._env.random.uniform(0.0, ceiling))

    async def close(self) -> None:
        """Wait for what is under way, then close the connections."""
        client, self._client = self._client, None
        await self.threads.close()
        if client is not None:
            client.close()

    def _sent(self, operation: str, request: Mapping[str, Any]) -> Any:
        self._looks.count = 0
        try:
            answer = getattr(self.client, operation)(**request)
        except VENDOR as exc:
            raise failure_of(exc) from exc
        if operation in _OF_OBJECTS:
            self._require_whole(answer)
        return answer

    def _require_whole(self, answer: Any) -> None:
        """Refuse an answer whose headers were cut with the connection, which botocore takes for all there are.

        Before or behind the metadata come an object's own headers, and the request's name where the server gives one.
        """
        found = answer["ResponseMetadata"]["HTTPHeaders"].keys()
        self._names_requests = self._names_requests or _REQUEST in found
        if not found >= _ALWAYS or (self._names_requests and _REQUEST not in found):
            if "Body" in answer:
                answer["Body"].close()
            raise Lost("the headers were cut", effect=Effect.NONE)

    def _made(self) -> Any:
        config = self._config
        is_path = config.endpoint_url is not None if config.path_style is None else config.path_style
        try:
            core = Session()
            core.register_component("data_loader", _loader())
            session = boto3.Session(botocore_session=core, profile_name=config.profile_name, region_name=config.region)
            client = session.client(
                "s3",
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
                    signature_version="s3v4",
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # the signature holds each body's SHA-256, which the service compares: nothing is altered on the way
                    s3={"addressing_style": "path" if is_path else "auto", "payload_signing_enabled": True},
                ),
            )
            for operation in ("PutObject", "UploadPart"):
                client.meta.events.register(f"before-call.s3.{operation}", _ask_first)
            client.meta.events.register("before-call.s3.HeadBucket", self._end_circles)
            return client
        except vendor.BotoCoreError:
            raise
        except ValueError as exc:  # botocore's word for an endpoint that it cannot read
            raise Refused("InvalidEndpoint") from exc

    def _end_circles(self, **_: object) -> None:
        """Refuse what botocore asks on its own when it was sent elsewhere and nobody has said where; it never stops."""
        self._looks.count += 1
        if self._looks.count > 2:
            raise Refused("PermanentRedirect", status=301)

    def _affords(self, attempt: int) -> bool:
        return attempt < self._config.max_attempts and self._budget.take()


def _ask_first(params: dict[str, Any], **_: object) -> None:
    """Let a large body wait for the service's consent, which a condition or a lack of rights can deny."""
    if isinstance(params["body"], memoryview) and len(params["body"]) >= _LARGE_BYTES:
        params["headers"]["Expect"] = "100-continue"


@cache
def _loader() -> Loader:
    """The description of the service; reading it takes long, so a process does it once."""
    return create_loader()


def _worse(effect: Effect, operation: str, failure: Refused | Lost) -> Effect:
    """What is known of a request's effect after one more failure."""
    if operation.startswith(_READS):
        return Effect.NONE
    if isinstance(failure, Lost):
        return Effect.UNKNOWN if failure.effect is Effect.UNKNOWN else effect
    return Effect.UNKNOWN if failure.status >= 500 and treatment(failure) is Treatment.AGAIN else effect


def _revealed(secret: Any) -> str | None:  # pydantic's SecretStr, or None
    return None if secret is None else secret.get_secret_value()
