"""What every port shares: opening, provisioning, health, closing, and the way to the raw client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self, TypeVar

from storycore.errors import Unavailable, Unsupported
from storycore.ports.capabilities import Capabilities

__all__ = ["AdapterInfo", "Health", "Lifecycle", "Port", "PortName", "Provision"]

N = TypeVar("N")


class PortName(StrEnum):
    """The seven ports."""

    ENTITIES = "entities"
    CACHE = "cache"
    VECTORS = "vectors"
    BLOBS = "blobs"
    EVENTS = "events"
    EMBEDDER = "embedder"
    RERANKER = "reranker"

    @property
    def is_optional(self) -> bool:
        """Whether a profile may do without it."""
        return self is PortName.RERANKER


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """Who is behind a port.

    Args:
        adapter: the name in the profile, for example ``"sqlite"``.
        version: the distribution's version.
        place: where the data is, for people: a path or an address, never a secret. ``""`` when in memory.
    """

    adapter: str
    version: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """What ``health()`` found.

    Args:
        ok: whether the port can serve.
        detail: one sentence for people, naming the cure when not ``ok``.
        latency_ms: how long the probe took, in milliseconds.
        facts: counts and sizes worth showing.
    """

    ok: bool
    detail: str = ""
    latency_ms: float = 0.0
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provision:
    """What ``ensure()`` did, or with ``dry_run`` would do.

    Args:
        actions: one sentence per action; empty when nothing is missing.
        differences: what is there but not as it is declared, and is left so: one sentence each, naming the cure.
    """

    actions: Sequence[str] = ()
    differences: Sequence[str] = ()


class Port(Protocol):
    """The part that all seven ports have in common.

    ``info`` and ``capabilities`` never raise and do no I/O; before ``open`` they give the static answer.
    """

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this instance can do."""
        ...

    async def open(self) -> None:
        """Connect. Creates nothing that outlives the process; a second call does nothing.

        Raises:
            NotProvisioned: the store does not exist yet (never raised by an adapter that needs no provisioning).
            SchemaMismatch: the store was made with another layout or specification.
            Corrupt, AccessDenied, Unavailable: the store cannot be used.
        """
        ...

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create what is missing: file, folder, table, index. May be called before or after ``open``.

        With ``dry_run`` nothing is changed. Doing it twice changes nothing the second time.
        """
        ...

    async def health(self, *, deep: bool = False) -> Health:
        """Probe the store; never raises a storycore error, a failure is an answer. ``deep`` also checks integrity."""
        ...

    async def close(self) -> None:
        """Release everything; acknowledged writes are safe. A second call does nothing.

        After it every operation raises ``Unavailable``.
        """
        ...

    def native(self, kind: type[N]) -> N:
        """The raw client behind the port, for what the port does not offer.

        Raises:
            Unsupported: there is no client of that type.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class Lifecycle:
    """The few lines of ``Port`` that are the same in every adapter; deriving from it is a convenience, not a duty.

    An adapter that derives sets ``_natives`` to the raw clients it shows and ``_opened`` as it opens and closes.
    """

    _opened: bool = False
    _natives: Sequence[object] = ()

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        raise NotImplementedError

    async def open(self) -> None:
        """Connect."""
        self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create what is missing; the default needs nothing."""
        return Provision()

    async def close(self) -> None:
        """Release everything."""
        self._opened = False

    def native(self, kind: type[N]) -> N:
        """The raw client of type ``kind``, else ``Unsupported``."""
        for client in self._natives:
            if isinstance(client, kind):
                return client
        raise Unsupported(
            f"The adapter {self.info.adapter!r} has no raw client of type {kind.__name__}.",
            feature=f"native.{kind.__name__}",
        )

    def _require_open(self) -> None:
        if not self._opened:
            raise Unavailable(
                f"The adapter {self.info.adapter!r} is not open; use it inside `async with`, or call open() first."
            )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
