"""The one table from what the server says to storycore's errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from storycore.errors import (
    AccessDenied,
    ConfigError,
    Corrupt,
    DeadlineExceeded,
    Effect,
    StorageFull,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore_redis._connection import Busy, Late, Refused, Unanswered

__all__ = ["FAILURES", "translated"]

FAILURES = (Refused, Unanswered, OSError)
"""What the connection raises."""

_BY_CODE: Mapping[str, tuple[type[StorycoreError], str]] = MappingProxyType(
    {
        "OOM": (StorageFull, "raise maxmemory, or let the server evict with maxmemory-policy"),
        "NOAUTH": (AccessDenied, "give username and password"),
        "WRONGPASS": (AccessDenied, "check username and password"),
        "NOPERM": (AccessDenied, "allow the user the keys of the namespace and the commands that README lists"),
        "DENIED": (AccessDenied, "give a password, or switch off the server's protected mode"),
        "READONLY": (Unavailable, "it is a replica; connect to the primary"),
        "LOADING": (Unavailable, "it reads its data from disk; try again"),
        "BUSY": (Unavailable, "a script holds it up; try again"),
        "MISCONF": (Unavailable, "it cannot save to its disk and takes no writes; free the disk"),
        "NOREPLICAS": (Unavailable, "too few replicas are connected; try again"),
        "MASTERDOWN": (Unavailable, "its primary is down; try again"),
        "CLUSTERDOWN": (Unavailable, "a part of the cluster is down; try again"),
        "TRYAGAIN": (Unavailable, "the keys are being moved; try again"),
        "UNBLOCKED": (Unavailable, "it changed its role; try again"),
        "MOVED": (ConfigError, "it is a cluster; set cluster=true"),
        "ASK": (ConfigError, "it is a cluster; set cluster=true"),
        "CROSSSLOT": (ConfigError, "it is a cluster; set cluster=true"),
        "NOPROTO": (ConfigError, "it must be Redis 6.2 or newer, or Valkey"),
        "WRONGTYPE": (Corrupt, "something else writes keys of the namespace; choose another namespace"),
    }
)
_BY_TEXT: tuple[tuple[str, type[StorycoreError], str], ...] = (
    ("max number of clients", Throttled, "raise maxclients, or share connections"),
    ("DB index is out of range", ConfigError, "choose a smaller db, or raise the server's `databases`"),
    ("SELECT is not allowed in cluster mode", ConfigError, "it is a cluster; set cluster=true"),
    ("unknown command", ConfigError, "it must be Redis 6.2 or newer, or Valkey, and not rename commands"),
    ("value is not an integer", Corrupt, "something else writes keys of the namespace; choose another namespace"),
    ("invalid password", AccessDenied, "check username and password"),
    ("without any password configured", AccessDenied, "the server has no password; leave password out"),
)


def translated(failure: BaseException, place: str, *, writes: bool) -> StorycoreError:
    """The storycore error for a failed command.

    Args:
        failure: one of ``FAILURES``.
        place: names the server.
        writes: whether the command may have changed something.
    """
    if isinstance(failure, Refused):
        return _refusal(str(failure), place)
    if isinstance(failure, Busy):
        return Throttled(f"Too many commands wait for {place} ({failure}); try again, or raise max_in_flight.")
    was_sent = isinstance(failure, Unanswered) and failure.was_sent
    effect = Effect.UNKNOWN if writes and was_sent else Effect.NONE
    if isinstance(failure, Late):
        return DeadlineExceeded(
            f"The {place} did not answer in time ({failure}); try again, or raise deadline_ms.", effect=effect
        )
    return Unavailable(
        f"The {place} cannot be reached ({failure}); check that it runs, and the address.", effect=effect
    )


def _refusal(text: str, place: str) -> StorycoreError:
    code = text.split(" ", 1)[0].removeprefix("-")
    for part, kind, cure in _BY_TEXT:
        if part in text:
            return kind(f"The {place} refused the command ({code}: {part}); {cure}.")
    kind, cure = _BY_CODE.get(code, (Unavailable, "see the server's documentation"))
    return kind(f"The {place} refused the command ({code}); {cure}.")
