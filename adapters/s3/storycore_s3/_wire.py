"""A blob's facts in the headers of its object, and in a note where they do not fit or are known too late.

Headers are sent before the content, but the hash of a stream is known behind it. Content that comes in one request is
hashed first. Larger content of unknown hash names a note in its headers: a small object that is written before the
upload is completed, so that nobody ever sees the one without the other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from storycore.errors import Corrupt
from storycore.ports.blob_headers import is_content_type, portable_metadata
from storycore.ports.blobs import BlobInfo, BlobVersion
from storycore_s3.config import S3Config

__all__ = [
    "DEFAULT_TYPE",
    "Facts",
    "Headers",
    "fits",
    "info_of",
    "note_bytes",
    "note_of",
    "noted",
    "protection",
    "quoted",
    "read_note",
    "unlocking",
    "write_of",
]

Headers = dict[str, Any]  # arguments of boto3's client

DEFAULT_TYPE: Final = "application/octet-stream"
_FACTS: Final = "storycore-facts"
_NOTE: Final = "storycore-note"
_MOST_BYTES: Final = 2048
"""S3: user-defined metadata, keys and values together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the service does not know of a blob by itself.

    Args:
        sha256: of the content.
        modified_at: when it was written, by the store's clock.
        write: names the write, so that who repeats it knows it again.
        metadata: the caller's.
    """

    sha256: str
    modified_at: datetime | None
    write: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The object's metadata where the facts fit in."""
        at = "" if self.modified_at is None else self.modified_at.isoformat()
        return {**self.metadata, _FACTS: f"{self.sha256} {at} {self.write}"}


def fits(facts: Facts) -> bool:
    """Whether the facts go into headers; not every server keeps a header with nothing in it."""
    if _FACTS in facts.metadata or _NOTE in facts.metadata or "" in facts.metadata.values():
        return False
    return sum(len(key) + len(value) for key, value in facts.headers.items()) <= _MOST_BYTES


def noted(note: str) -> dict[str, str]:
    """The object's metadata where a note has the facts."""
    return {_NOTE: note}


def note_of(answer: Mapping[str, Any]) -> str | None:
    """The name of the note that an object's headers tell of."""
    found: str | None = answer.get("Metadata", {}).get(_NOTE)
    return found


def write_of(answer: Mapping[str, Any]) -> str | None:
    """Which write has made an object."""
    metadata: Mapping[str, str] = answer.get("Metadata", {})
    return metadata.get(_NOTE) or metadata.get(_FACTS, "").rpartition(" ")[2] or None


def note_bytes(facts: Facts) -> bytes:
    """The content of a note."""
    at = None if facts.modified_at is None else facts.modified_at.isoformat()
    fields = {"sha256": facts.sha256, "modified_at": at, "write": facts.write, "metadata": dict(facts.metadata)}
    return json.dumps(fields, separators=(",", ":")).encode()


def read_note(content: bytes, key: str) -> Facts:
    """The facts in a note.

    Raises:
        Corrupt: it is damaged.
    """
    try:
        fields = json.loads(content)
        at = None if fields["modified_at"] is None else datetime.fromisoformat(fields["modified_at"])
        return Facts(sha256=fields["sha256"], modified_at=at, write=fields["write"], metadata=fields["metadata"])
    except (ValueError, KeyError, TypeError) as exc:
        raise Corrupt(f"The note of blob {key!r} is damaged; put the blob again.") from exc


def info_of(key: str, answer: Mapping[str, Any], facts: Facts | None, *, config: S3Config, now: datetime) -> BlobInfo:
    """The info in the answer to a HEAD or GET.

    Args:
        facts: from its note, where it has one.
        now: a lock that has ended by then is none.
    """
    facts = facts or _facts(answer.get("Metadata", {}), key)
    until = answer.get("ObjectLockRetainUntilDate") if config.lock else None
    return BlobInfo(
        key=key,
        size_bytes=_size(answer),
        version=BlobVersion(answer["ETag"].strip('"')),
        sha256=facts.sha256,
        modified_at=facts.modified_at or answer["LastModified"].astimezone(UTC),
        content_type=_content_type(answer),
        metadata=dict(facts.metadata),
        revision=answer.get("VersionId", "null") if config.versions else None,
        locked_until=None if until is None or until <= now else until.astimezone(UTC),
    )


def quoted(version: str) -> str:
    """A version as the service's conditions take it."""
    return f'"{version}"'


def protection(config: S3Config) -> Headers:
    """How the service has to encrypt what it is sent."""
    if config.customer_key is not None:
        return unlocking(config)
    if config.encryption is None:
        return {}
    headers: Headers = {"ServerSideEncryption": config.encryption}
    if config.encryption == "aws:kms":
        headers["BucketKeyEnabled"] = True  # one call to KMS for many objects (S3: Bucket Keys)
        if config.kms_key is not None:
            headers["SSEKMSKeyId"] = config.kms_key
    return headers


def unlocking(config: S3Config, *, source: bool = False) -> Headers:
    """The caller's own key, which every request for an object under it has to carry."""
    if config.customer_key is None:
        return {}
    text = config.customer_key.get_secret_value()
    check = base64.b64encode(hashlib.md5(base64.b64decode(text), usedforsecurity=False).digest()).decode()
    start = "CopySourceSSECustomer" if source else "SSECustomer"
    return {f"{start}Algorithm": "AES256", f"{start}Key": text, f"{start}KeyMD5": check}


def _size(answer: Mapping[str, Any]) -> int:
    if "ContentRange" in answer:  # bytes 0-9/100
        return int(answer["ContentRange"].rpartition("/")[2])
    return int(answer["ContentLength"])


def _content_type(answer: Mapping[str, Any]) -> str:
    """As it was given; the default where another tool gave one that the port does not take."""
    found: str = answer.get("ContentType", "")
    return found if is_content_type(found) else DEFAULT_TYPE


def _facts(metadata: Mapping[str, str], key: str) -> Facts:
    """The facts in headers; an object that another tool has put has none."""
    if _FACTS not in metadata:
        return Facts(sha256="", modified_at=None, metadata=portable_metadata(metadata))
    rest = {name.lower(): value for name, value in metadata.items() if name.lower() != _FACTS}
    try:
        sha256, at, write = metadata[_FACTS].split(" ")
        return Facts(sha256=sha256, modified_at=datetime.fromisoformat(at), write=write, metadata=rest)
    except ValueError as exc:
        raise Corrupt(f"The headers of blob {key!r} are damaged; put the blob again.") from exc
