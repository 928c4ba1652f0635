"""Records of a trail: one line of canonical JSON each, which holds the hash of the line before it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from storycore.audit.accesses import Access, Names, owner_of
from storycore.audit.keys import AuditKey
from storycore.layers.acting import USER

__all__ = ["AuditRecord", "line_of", "read_line", "shown_actor", "users_of"]

_HIDDEN_USER = "user#"
_BEFORE_HASH = b',"hash":"'
_END = len(_BEFORE_HASH) + 64 + 2
"""So long is the end of a line, with its hash, which is that of everything before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One access, as the trail keeps it.

    Args:
        chain: which opened store wrote it.
        seq: its place in that chain, from 1 on.
        at: when the access ended, aware UTC.
        actor: who did it; of a user ``user#`` and a hash.
        action: port and operation, for example ``"entities.write"``; ``audit.…`` is about the trail itself.
        outcome: ``"done"``, the class of an error, or ``"unknown"`` where a write may have happened.
        reason: as it was said.
        kinds: how many things of each kind were touched.
        keys: what stands for their keys.
        about: what a record about the trail itself says beside that.
        previous: the hash of the record before it; ``""`` of the first.
        hash: its own, made with the trail's key.
    """

    chain: str
    seq: int
    at: datetime
    actor: str
    action: str
    outcome: str
    reason: str = ""
    kinds: Mapping[str, int] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    previous: str = ""
    hash: str = ""


def line_of(
    access: Access,
    key: AuditKey,
    own: Mapping[str, bytes],
    *,
    chain: str,
    seq: int,
    previous: str,
) -> tuple[bytes, str]:
    """An access as a line without its end, and its hash.

    Args:
        own: the keys of the users whom it is about.
    """
    port = access.action.partition(".")[0]
    actor = access.who.actor
    content: dict[str, object] = {
        "action": access.action,
        "actor": shown_actor(actor, key, own.get(actor.removeprefix(USER))) if actor.startswith(USER) else actor,
        "at": access.at.isoformat(timespec="microseconds"),
        "chain": chain,
        "keys": [key.of_name(port, name, own.get(owner_of(port, name) or "")) for _, name in access.names if name],
        "kinds": _counted(access.names),
        "outcome": access.outcome,
        "previous": previous,
        "seq": seq,
    }
    content |= {"reason": access.who.reason} if access.who.reason else {}
    content |= {"about": access.about} if access.about else {}
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    hashed = key.of_record(body)
    return b'%b%b%b"}' % (body[:-1], _BEFORE_HASH, hashed.encode()), hashed


def _counted(names: Names) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, _ in names:
        if kind:
            found[kind] = found.get(kind, 0) + 1
    return found


def users_of(access: Access) -> set[str]:
    """The users whose own keys an access needs."""
    port, actor = access.action.partition(".")[0], access.who.actor
    found = {owner for _, name in access.names if (owner := owner_of(port, name)) is not None}
    return found | {actor.removeprefix(USER)} if actor.startswith(USER) else found


def shown_actor(actor: str, key: AuditKey, own: bytes | None) -> str:
    """A user who acts, as the trail names him."""
    return _HIDDEN_USER + key.of_name("actor", [actor], own)


def read_line(line: bytes, key: AuditKey) -> AuditRecord | None:
    """A record that bears its hash, to the letter; ``None``: it does not."""
    body, before, hashed = (
        line[:-_END] + b"}",
        line[-_END : -_END + len(_BEFORE_HASH)],
        line[-_END + len(_BEFORE_HASH) :],
    )
    if before != _BEFORE_HASH or not hmac.compare_digest(hashed, key.of_record(body).encode() + b'"}'):
        return None
    content = orjson.loads(body)
    moment, keys = datetime.fromisoformat(content.pop("at")), tuple(content.pop("keys"))
    return AuditRecord(**content, at=moment, keys=keys, hash=hashed[:-2].decode())
