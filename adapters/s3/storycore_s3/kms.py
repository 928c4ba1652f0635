"""Keys of backups sealed by AWS KMS: the key that seals them never leaves the service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import boto3
from botocore import exceptions as vendor
from botocore.config import Config
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from storycore.errors import (
    AccessDenied,
    ConfigError,
    InvalidArgument,
    NotProvisioned,
    StorycoreError,
    Throttled,
    Unavailable,
)

__all__ = ["KmsKey", "KmsOptions", "kms_key"]

_SEALED_ELSEWHERE: Final = "it was sealed with another key or for another backup, or was changed"
_FAILURES: Final[Mapping[str, tuple[type[StorycoreError], str]]] = {
    **dict.fromkeys(
        ("InvalidCiphertextException", "IncorrectKeyException"),
        (AccessDenied, f"does not open it: {_SEALED_ELSEWHERE}"),
    ),
    **dict.fromkeys(
        ("AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"),
        (AccessDenied, "is refused to these credentials; they need kms:Encrypt and kms:Decrypt for it"),
    ),
    **dict.fromkeys(
        ("DisabledException", "KMSInvalidStateException"),
        (AccessDenied, "is disabled or waits for its deletion; enable it"),
    ),
    "NotFoundException": (NotProvisioned, "does not exist in this region and account"),
    "InvalidKeyUsageException": (NotProvisioned, "does not encrypt; take a symmetric key"),
    **dict.fromkeys(
        ("ThrottlingException", "LimitExceededException"), (Throttled, "is asked too often; try again later")
    ),
}
"""By the service's code (AWS KMS API Reference: Encrypt, Decrypt). What is not listed is ``Unavailable``."""


class KmsOptions(BaseModel):
    """Which key, and how the service is reached.

    Args:
        key_id: an id, an ARN or ``alias/…`` of a symmetric key.
        region: the AWS region; ``None``: what the environment says.
        endpoint_url: another server than AWS.
        profile_name: a profile of the AWS configuration files.
        access_key_id: with ``secret_access_key``, instead of boto3's own search for credentials.
        secret_access_key: belongs to ``access_key_id``.
        session_token: of temporary credentials.
        timeout_seconds: for a connection, and for an answer.
        max_attempts: how often a request is sent at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str = Field(min_length=1)
    region: str | None = None
    endpoint_url: str | None = None
    profile_name: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    max_attempts: int = Field(default=5, ge=1, le=20)


def kms_key(options: Mapping[str, object]) -> KmsKey:
    """The provider of a profile's ``backup.key_options``.

    Raises:
        ConfigError: an option is missing, unknown or out of its range.
    """
    try:
        return KmsKey(KmsOptions.model_validate(dict(options)))
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        place = ".".join(["backup.key_options", *map(str, first["loc"])])
        raise ConfigError(f"{place}: {first['msg']}.", path=place) from exc


class KmsKey:
    """A key in AWS KMS; 32 bytes go there and come back sealed, with the backup as encryption context.

    Args:
        options: the key, and the way to it.
    """

    def __init__(self, options: KmsOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._client: Any = None  # boto3 builds its clients' types at run time

    @property
    def identity(self) -> str:
        """The key's id, ARN or alias."""
        return f"KMS key {self._options.key_id}"

    async def wrap(self, key: bytes, *, context: Mapping[str, str]) -> bytes:
        """Seal a key.

        Raises:
            AccessDenied, NotProvisioned, Throttled, Unavailable: the service says no, or nothing.
        """
        answer = await self._ask("encrypt", Plaintext=key, EncryptionContext=dict(context))
        return bytes(answer["CiphertextBlob"])

    async def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        """Open a sealed key.

        Raises:
            AccessDenied: it was sealed with another key, or for another context, or was changed.
            NotProvisioned, Throttled, Unavailable: the service says no, or nothing.
        """
        answer = await self._ask("decrypt", CiphertextBlob=wrapped, EncryptionContext=dict(context))
        return bytes(answer["Plaintext"])

    async def _ask(self, verb: str, **request: object) -> Mapping[str, Any]:  # Any: as boto3 answers
        def ask() -> Mapping[str, Any]:
            call: Callable[..., Mapping[str, Any]] = getattr(self._connected(), verb)
            return call(KeyId=self._options.key_id, **request)

        try:
            return await asyncio.to_thread(ask)
        except vendor.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code"))
            error, why = _FAILURES.get(code, (Unavailable, f"answers {code}; try again later"))
            raise error(f"The {self.identity} {why}.") from exc
        except (vendor.NoCredentialsError, vendor.PartialCredentialsError, vendor.ProfileNotFound) as exc:
            raise AccessDenied(f"There are no credentials for the {self.identity} ({exc}).") from exc
        except vendor.NoRegionError as exc:
            raise ConfigError("backup.key_options.region: give the key's region.", path="backup.key_options") from exc
        except vendor.ParamValidationError as exc:
            raise InvalidArgument(f"The {self.identity} cannot be asked so: {exc}.") from exc
        except vendor.BotoCoreError as exc:
            raise Unavailable(f"AWS KMS does not answer ({exc}); check region, endpoint_url and the network.") from exc

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> Any:
        options = self._options
        session = boto3.Session(
            aws_access_key_id=_revealed(options.access_key_id),
            aws_secret_access_key=_revealed(options.secret_access_key),
            aws_session_token=_revealed(options.session_token),
            region_name=options.region,
            profile_name=options.profile_name,
        )
        config = Config(
            connect_timeout=options.timeout_seconds,
            read_timeout=options.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        )
        return session.client("kms", endpoint_url=options.endpoint_url, config=config)


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
