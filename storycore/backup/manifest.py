"""Manifests: what a backup consists of, written last, so that a backup without one does not exist."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal, TypeAlias

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from storycore.errors import Corrupt, SchemaMismatch

__all__ = [
    "FORMAT",
    "Consistency",
    "Kind",
    "Manifest",
    "ObjectInfo",
    "PortContent",
    "new_backup_id",
    "read_manifest",
    "sign_manifest",
]

FORMAT = 1
"""Of manifests and objects; a newer one is refused, never guessed at."""

Kind: TypeAlias = Literal["daily", "weekly", "monthly", "manual"]
Consistency: TypeAlias = Literal["point", "fuzzy"]
"""``point``: the state at one moment; ``fuzzy``: each item as it was at some moment while the backup was made."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectInfo(_Frozen):
    """One object of a backup.

    Args:
        name: unique in its backup; its place is ``<prefix><backup>/<name>``.
        size_bytes: as it lies in the blob store, sealed.
        sha256: of those bytes, lower-case hex.
        frames: how many it has.
        entries: how many puts and deletes are in it; 1 where it is the content of one.
        owner: of a content that an owner's key seals: which key that is, itself sealed with the backup's; else ``""``.
    """

    name: str
    size_bytes: int
    sha256: str
    frames: int
    entries: int
    owner: str = ""


class PortContent(_Frozen):
    """What a backup holds of one port.

    Args:
        base: every item, each once, as it was at some moment while the backup was made; none in an increment.
        changes: what changed since then, or since the parent, in order; they go over the base and over the parent's.
        index: the marks of all items (of a full backup) or of the changed ones; see ``storycore.backup.index``.
        contents: what is too long for an entry, each in an object of its own; base and changes say whose it is.
        items: how many items the port had at that moment.
        digest: of all items at that moment, lower-case hex: equal for equal states, and for no others.
        consistency: of this port's state.
        position: where the change feed goes on behind this state; ``None`` where there is none.
        facts: what else the restore needs to know, for example a vector index's metric and model.
    """

    base: tuple[ObjectInfo, ...] = ()
    changes: tuple[ObjectInfo, ...] = ()
    index: tuple[ObjectInfo, ...] = ()
    contents: tuple[ObjectInfo, ...] = ()
    items: int
    digest: str
    consistency: Consistency
    position: str | None = None
    facts: Mapping[str, str | int] = Field(default_factory=dict)

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """All of them."""
        return (*self.base, *self.changes, *self.index, *self.contents)


class Manifest(_Frozen):
    """A committed backup.

    Args:
        id: ``<kind>_<as_of in UTC>_<six characters>``, for example ``daily_20240115_020000_k3x9ab``.
        kind: why it was made.
        parent: the backup on which this one builds; ``None`` of a full one.
        store: the namespace of the store it was made from.
        started_at: when the first item was read.
        as_of: the moment whose state it holds.
        finished_at: when everything but the manifest was written.
        ports: by port name.
        version: of storycore, which made it.
        owners: which keys of owners seal something in it; ``None``: what belongs to somebody is sealed as all the rest.
    """

    format: int = FORMAT
    id: str
    kind: Kind
    parent: str | None = None
    store: str
    started_at: AwareDatetime
    as_of: AwareDatetime
    finished_at: AwareDatetime
    ports: Mapping[str, PortContent]
    version: str
    owners: tuple[ObjectInfo, ...] | None = None

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """All of them."""
        return (*(each for port in self.ports.values() for each in port.objects), *(self.owners or ()))

    @property
    def size_bytes(self) -> int:
        """Of all objects, as they lie in the blob store."""
        return sum(each.size_bytes for each in self.objects)

    @property
    def items(self) -> int:
        """Of all ports at that moment."""
        return sum(port.items for port in self.ports.values())

    @property
    def is_full(self) -> bool:
        """Whether it can be restored without another one."""
        return self.parent is None


def sign_manifest(manifest: Manifest, key: bytes) -> bytes:
    """The bytes of a manifest, with a seal that only the backup's key makes."""
    content = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return orjson.dumps({"format": manifest.format, "manifest": orjson.Fragment(content), "seal": _seal(content, key)})


def read_manifest(data: bytes, key: bytes | None = None, *, name: str) -> Manifest:
    """Read what ``sign_manifest`` wrote.

    Args:
        key: the backup's; ``None`` reads without looking at the seal, which is enough for a listing.
        name: the id under which it lies.

    Every format has the same outer form and seal, so that what claims to be of a newer version proves it too.

    Raises:
        Corrupt: these are not a manifest's bytes, it is another backup's, or the seal is not this key's.
        SchemaMismatch: a newer version of storycore wrote it.
    """
    try:
        outer = orjson.loads(data)
        format_, inner, seal = outer["format"], outer["manifest"], outer["seal"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise Corrupt(f"The manifest {name} of a backup is damaged; other backups are not concerned.") from exc
    if not isinstance(format_, int) or format_ < 1 or not isinstance(inner, dict):
        raise Corrupt(f"The manifest {name} of a backup is damaged; other backups are not concerned.")
    if key is not None and not _bears(str(seal), inner, key, format_):
        raise Corrupt(f"The manifest {name} of a backup was changed after it was written.")
    if format_ > FORMAT:
        raise SchemaMismatch(
            f"The backup {name} has format {format_}, and this version of storycore reads up to {FORMAT}; "
            "restore it with the version that made it, or a newer one."
        )
    try:
        manifest = Manifest.model_validate(inner)
    except ValidationError as exc:
        raise Corrupt(f"The manifest {name} of a backup is damaged ({exc.error_count()} fields).") from exc
    if manifest.id != name:
        raise Corrupt(f"What lies under the name of the backup {name} is the manifest of {manifest.id}.")
    return manifest


def new_backup_id(kind: Kind, at: datetime, unique: str) -> str:
    """The id of a backup that begins at ``at``; the first six characters of ``unique`` keep two of one second apart."""
    return f"{kind}_{at.astimezone(UTC):%Y%m%d_%H%M%S}_{unique[:6]}"


def _bears(seal: str, inner: Mapping[str, object], key: bytes, format_: int) -> bool:
    """Whether a manifest bears its seal, and is of the format that it claims."""
    content = orjson.dumps(inner, option=orjson.OPT_SORT_KEYS)
    is_sealed = hmac.compare_digest(_seal(content, key).encode(), seal.encode())
    return is_sealed and inner.get("format", 1) == format_


def _seal(content: bytes, key: bytes) -> str:
    own = hmac.digest(key, b"storycore-backup-manifest", "sha256")
    return hmac.new(own, content, sha256).hexdigest()
