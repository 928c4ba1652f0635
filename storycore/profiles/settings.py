"""The frozen settings of a store: which adapter serves each port, with what options, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from storycore.errors import ConfigError
from storycore.ports.lifecycle import PortName
from storycore.profiles.redaction import redacted, redacted_url

__all__ = [
    "AuditSettings",
    "BackupSettings",
    "CachingSettings",
    "HealthSettings",
    "JobSettings",
    "LayerSettings",
    "PortSettings",
    "Profile",
]


class LayerSettings(BaseModel):
    """One layer around a port.

    Args:
        use: the layer's name, for example ``"retry"``.
        options: its settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str
    options: Mapping[str, object] = Field(default_factory=dict)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "use", self.use
        yield "options", redacted(self.options)


class PortSettings(BaseModel):
    """Which adapter serves a port.

    Args:
        adapter: its name, which is also the scheme of ``url``.
        url: where the data is, as it was given; ``""`` when only options were given.
        options: settings by name; they win over what the URL says.
        layers: around the adapter, outermost first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str
    url: str = ""
    options: Mapping[str, object] = Field(default_factory=dict)
    layers: tuple[LayerSettings, ...] = ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "adapter", self.adapter
        yield "url", redacted_url(self.url)
        yield "options", redacted(self.options)
        yield "layers", self.layers


class CachingSettings(BaseModel):
    """How reads are cached above the ports.

    Args:
        entities: whether reads of entities go through the cache.
        entity_ttl_seconds: how long a cached entity lives.
        l1_max_bytes: how much the memory tier may hold.
        l1_ttl_seconds: how long a copy in memory lives at most; ``None``: 5 seconds where several processes may share
            the cache and it does not tell changes, else as long as the value.
        follow_changes: whether cached entities are also invalidated by the store's change feed, for the sake of
            writers that die before they can do it, or know nothing of the cache.
        command_timeout_ms: how long a call of the cache may hold up a caller, who then goes on without it; 0: as long
            as it takes.
        degraded_ttl_seconds: how long a copy in memory lives at most while the cache is let alone after failures.
        embeddings: which texts' vectors are cached: those of ``"queries"``, of ``"all"`` texts, or ``"none"``. What an
            embedder gives that is not semantic is never cached.
        embedding_ttl_seconds: how long a cached vector lives; it never goes out of date.
        signing_keys: secrets, or references to them; cached values are signed with the first, and read when signed
            with any. Without any, damage is found, and forgery is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entities: bool = True
    entity_ttl_seconds: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    l1_max_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    l1_ttl_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    follow_changes: bool = False
    command_timeout_ms: float = Field(default=250.0, ge=0, le=60_000, allow_inf_nan=False)
    degraded_ttl_seconds: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    embeddings: Literal["none", "queries", "all"] = "queries"
    embedding_ttl_seconds: float = Field(default=30 * 86_400.0, ge=0.001, le=150_000_000, allow_inf_nan=False)
    signing_keys: tuple[str, ...] = Field(default=(), repr=False)

    @field_validator("signing_keys", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


class BackupSettings(BaseModel):
    """Where backups lie, who can read them, and which stay.

    Args:
        blobs: a blob store of their own, best with another provider or in another account; ``None``: the profile's.
        prefix: what their names begin with; a slash stands at the end.
        passphrase: makes the key; a secret, or a reference to one. ``""``: the key lies in a file.
        key_file: that file, made with the first backup; ``""``: ``backup.key`` in the profile's folder. A relative one
            in a file is relative to that file.
        key_provider: a plugin's provider of keys instead of both, by its name.
        key_options: what that provider needs to know.
        record_every: minutes between two sealings of the change feed by the job ``backup.record``, so that any second
            can be restored: a divisor of an hour, or whole hours that divide a day. 0: never.
        owner_keys: seal what belongs to a user with a key of his own, so that ``erase`` reaches into old backups.
        ports: what is backed up.
        time_zone: of the days, weeks and months that retention goes by, for example ``"Europe/Berlin"``.
        max_chain: a full backup is made after so many increments.
        keep_last: so many of the newest backups stay.
        keep_daily: and the newest of so many days.
        keep_weekly: of so many weeks.
        keep_monthly: of so many months.
        keep_yearly: of so many years.
        keep_verified: and so many of the newest that were verified, whatever the other numbers say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blobs: PortSettings | None = None
    prefix: str = Field(default="backups/", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,199}/$")
    passphrase: str = Field(default="", repr=False)
    key_file: str = ""
    key_provider: str = ""
    key_options: Mapping[str, object] = Field(default_factory=dict, repr=False)
    record_every: int = 5
    owner_keys: bool = False
    ports: tuple[Literal["blobs", "entities", "vectors", "events"], ...] = Field(
        default=("blobs", "entities", "vectors", "events"), min_length=1
    )
    time_zone: str = "UTC"
    max_chain: int = Field(default=30, ge=0, le=1000)
    keep_last: int = Field(default=3, ge=0)
    keep_daily: int = Field(default=7, ge=0)
    keep_weekly: int = Field(default=5, ge=0)
    keep_monthly: int = Field(default=12, ge=0)
    keep_yearly: int = Field(default=0, ge=0)
    keep_verified: int = Field(default=1, ge=1)

    @field_validator("record_every")
    @classmethod
    def _even(cls, minutes: int) -> int:
        """An interval that comes at the same minutes of every hour, or hours of every day."""
        hours, rest = divmod(minutes, 60)
        if minutes and (minutes < 0 or (rest and (hours or 60 % minutes)) or (hours and (hours > 24 or 24 % hours))):
            raise ValueError("minutes that divide an hour, whole hours in minutes that divide a day, or 0 are expected")
        return minutes

    @field_validator("ports", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        """Of two keys one would be ignored, and nobody would know which until a backup does not open."""
        said = [name for name in ("passphrase", "key_file", "key_provider") if getattr(self, name)]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} are given, and one key seals backups; leave one, the others are ''")
        if self.key_options and not self.key_provider:
            raise ValueError("key_options are those of a key_provider, and none is given")
        return self


class JobSettings(BaseModel):
    """When the store's jobs run.

    Args:
        time_zone: of the wall clock that jobs go by, for example ``"Europe/Berlin"``; a job may name its own.
        off: names of jobs that are not run by the clock.
        cron: name of a job to the cron expression that counts instead of its own.
        lease_seconds: a runner that gives no sign of life for so long is taken for dead.
        history_days: how long the history of runs is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_zone: str = "UTC"
    off: tuple[str, ...] = ()
    cron: Mapping[str, str] = Field(default_factory=dict)
    lease_seconds: float = Field(default=60.0, ge=1, le=86_400, allow_inf_nan=False)
    history_days: float = Field(default=90.0, gt=0, le=36_500, allow_inf_nan=False)

    @field_validator("off", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


class HealthSettings(BaseModel):
    """How the store's health is looked at.

    Args:
        required: ports without which the store does not serve: while one of them fails the store is down, while
            another fails it is degraded.
        timeout_seconds: how long a part may take to answer.
        keep_seconds: for so long an answer to whether the store is ready is given again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: tuple[PortName, ...] = (PortName.ENTITIES,)
    timeout_seconds: float = Field(default=5.0, gt=0, le=300, allow_inf_nan=False)
    keep_seconds: float = Field(default=2.0, ge=0, le=300, allow_inf_nan=False)

    @field_validator("required", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


class AuditSettings(BaseModel):
    """Whether it is recorded who reads and writes what, and where.

    Args:
        enabled: whether at all.
        blobs: a blob store of its own, best one that those cannot write who write the data; ``None``: the profile's.
        prefix: what its names begin with; a slash stands at the end.
        key: 64 hexadecimal digits; a secret, or a reference to one. ``""``: the key lies in a file.
        key_file: that file, made with the trail; ``""``: ``audit.key`` in the profile's folder. A relative one in a
            file is relative to that file.
        actor: who acts where nobody has said who; ``""``: the system's user and the process.
        ports: what is watched.
        reads: whether reads are recorded too.
        durable: whether an operation only returns when its record is stored.
        flush_seconds: otherwise, how long a record may wait for the next ones.
        on_failure: what happens while records cannot be stored and too many wait: operations ``block``, and are refused
            after a while, or ``continue`` unrecorded, which the trail then tells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    blobs: PortSettings | None = None
    prefix: str = Field(default="audit/", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,199}/$")
    key: str = Field(default="", repr=False)
    key_file: str = ""
    actor: str = Field(default="", max_length=512)
    ports: tuple[Literal["blobs", "entities", "vectors", "events"], ...] = Field(
        default=("blobs", "entities", "vectors", "events"), min_length=1
    )
    reads: bool = True
    durable: bool = False
    flush_seconds: float = Field(default=1.0, ge=0.01, le=60, allow_inf_nan=False)
    on_failure: Literal["block", "continue"] = "block"

    @field_validator("ports", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        """Of two keys one would be ignored."""
        if self.key and self.key_file:
            raise ValueError("key and key_file are given, and one key seals the trail; leave one, the other is ''")
        return self


class Profile(BaseModel):
    """Everything that ``storycore.open`` needs to know.

    Args:
        name: of the profile.
        dir: the folder of a local layer, absolute; ``{dir}`` in a setting stands for it.
        namespace: keeps several applications apart in one cache or index.
        cursor_key: signs the cursors of listings; a secret, or a reference to one. ``""`` derives it from the
            namespace, which guards against mistakes, but not against somebody who wants to forge a cursor.
        requires: capabilities that are checked when the store opens, for example ``"guarantees.durability>=disk"``.
        plugins: entry points that are loaded although no port uses their adapter.
        caching: how reads are cached above the ports.
        backup: where backups lie, who can read them, and which stay.
        jobs: when the store's jobs run.
        health: how the store's health is looked at.
        audit: whether it is recorded who reads and writes what.
        origins: path of a setting (``"cache.url"``) to where its value came from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dir: Path
    namespace: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    cursor_key: str = Field(default="", repr=False)
    entities: PortSettings
    cache: PortSettings
    vectors: PortSettings
    blobs: PortSettings
    events: PortSettings
    embedder: PortSettings
    reranker: PortSettings | None = None
    requires: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    caching: CachingSettings = Field(default_factory=CachingSettings)
    backup: BackupSettings = Field(default_factory=BackupSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    origins: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @property
    def backup_key_file(self) -> Path:
        """Where the key of backups is, if it is in a file."""
        return Path(self.backup.key_file).expanduser() if self.backup.key_file else self.dir / "backup.key"

    @property
    def audit_key_file(self) -> Path:
        """Where the key of the audit trail is, if it is in a file."""
        return Path(self.audit.key_file).expanduser() if self.audit.key_file else self.dir / "audit.key"

    @property
    def has_backups(self) -> bool:
        """Whether anything is said of backups, or their key was made where it is by default."""
        return any(path.startswith("backup.") for path in self.origins) or (self.dir / "backup.key").exists()

    @property
    def ports(self) -> tuple[PortName, ...]:
        """The ports that the profile has: all but those that are optional and not set."""
        return tuple(name for name in PortName if getattr(self, name) is not None)

    def port(self, name: PortName) -> PortSettings:
        """The settings of one port.

        Raises:
            ConfigError: the port is optional and the profile does without it.
        """
        settings: PortSettings | None = getattr(self, name)
        if settings is None:
            raise ConfigError(
                f'The profile {self.name!r} has no {name}; add {name} = "memory://" (or another URL) to it.',
                path=str(name),
            )
        return settings

    def adapter_names(self) -> list[str]:
        """The adapters that the ports, the backups and the trail use, each once, in the order of the ports."""
        names = [self.port(name).adapter for name in self.ports]
        more = [each.blobs.adapter for each in (self.backup, self.audit) if each.blobs is not None]
        return list(dict.fromkeys([*names, *more]))
