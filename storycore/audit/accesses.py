"""Accesses: what an operation of a port touched, as its arguments and its result tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from storycore.layers.acting import Acting
from storycore.layers.around import Operation
from storycore.ports.lifecycle import PortName
from storycore.ports.vector_records import DEFAULT_NAMESPACE

__all__ = ["SILENT", "WALKS", "Access", "Name", "Names", "named", "owner_of"]

Name: TypeAlias = tuple[str, ...]
"""A thing's key within its port: the two parts of an entity's key, or the one of a partition, or of anything else.

``()``: it is not kept.
"""
Names: TypeAlias = Sequence[tuple[str, Name]]
"""Things by their kind and key; what has no kind is not counted."""
_Arguments: TypeAlias = tuple[Sequence[Any], Mapping[str, Any], Any]  # an operation's own arguments and result

SILENT = frozenset({"entities.changes_end", "entities.explain", "vectors.explain", "vectors.stats", "vectors.optimize"})
"""Operations that give out nothing of what is stored, and change nothing of it."""

WALKS = frozenset(
    {
        "entities.get",
        "entities.scan",
        "entities.changes",
        "vectors.scan",
        "vectors.list_ids",
        "blobs.entries",
        "events.read",
    }
)
"""Calls that are not recorded when they touched nothing: walks that are at their end, and gets of no keys.

Walks are recorded by kinds and counts alone, but for that of events.
"""

_USER_KEY = "user#"


class Access(NamedTuple):
    """One operation that was done, or tried.

    Args:
        at: when it ended.
        who: who did it.
        action: port and operation, for example ``"entities.write"``.
        outcome: ``"done"``, the class of its error, or ``"unknown"`` where a write may have happened.
        names: what it touched.
        about: what a record about the trail itself says beside that.
    """

    at: datetime
    who: Acting
    action: str
    outcome: str
    names: Names = ()
    about: Mapping[str, object] | None = None


def named(operation: Operation, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Names:
    """What an operation touched.

    Args:
        result: what it returned; ``None`` when it failed.
    """
    action = f"{operation.port}.{operation.name}"
    find = _FINDERS.get(action)
    if find is None:
        return ()
    try:
        return find((args, kwargs, result))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # arguments that no operation takes
        return ()


def owner_of(port: str, name: Name) -> str | None:
    """The user whom a thing is about, as far as its name alone says so: a user's own partition, an event's subject."""
    if not name:
        return None
    if port == PortName.EVENTS:
        return name[0] or None
    if port == PortName.ENTITIES and name[0].startswith(_USER_KEY):
        return unquote(name[0].removeprefix(_USER_KEY)) or None
    return None


def _given(arguments: _Arguments, place: int, name: str) -> Any:  # whatever the operation takes there
    args, kwargs, _ = arguments
    return args[place] if len(args) > place else kwargs[name]


def _read(arguments: _Arguments) -> Names:
    keys, found = _given(arguments, 0, "keys"), arguments[2]
    kinds = ["" if each is None else each.kind for each in found] if found is not None else [""] * len(keys)
    return [(kind, (key.pk, key.sk)) for kind, key in zip(kinds, keys, strict=True)]


def _written(arguments: _Arguments) -> Names:
    writes, done = _given(arguments, 0, "writes"), arguments[2]
    records = [None] * len(writes) if done is None else [each.record for each in done]
    return [
        (getattr(write, "kind", "") or getattr(record, "kind", ""), (write.key.pk, write.key.sk))
        for write, record in zip(writes, records, strict=True)
    ]


def _page(arguments: _Arguments) -> Names:
    found = [(each.kind, (each.key.pk, each.key.sk)) for each in _found(arguments, "records")]
    return [("", (_given(arguments, 0, "plan").pk,)), *found]


def _changes(arguments: _Arguments) -> Names:
    return [(each.kind, ()) for each in _found(arguments, "changes")]


def _scan(arguments: _Arguments) -> Names:
    return [(each.kind, ()) for each in _found(arguments, "records")]


def _items(arguments: _Arguments) -> Names:
    return [(_namespace(arguments), (each.id,)) for each in _given(arguments, 0, "items")]


def _ids(arguments: _Arguments) -> Names:
    args, kwargs, _ = arguments
    ids = args[0] if args else kwargs.get("ids")
    return [(_namespace(arguments), (each,)) for each in ids or ()]


def _id(arguments: _Arguments) -> Names:
    return [(_namespace(arguments), (_given(arguments, 0, "id"),))]


def _matches(arguments: _Arguments) -> Names:
    return [(each.namespace, (each.id,)) for matches in arguments[2] or () for each in matches]


def _namespace(arguments: _Arguments) -> str:
    return str(arguments[1].get("namespace", DEFAULT_NAMESPACE))


def _blob(arguments: _Arguments) -> Names:
    return [("blob", (_given(arguments, 0, "key"),))]


def _blobs(arguments: _Arguments) -> Names:
    return [("blob", (each,)) for each in _given(arguments, 0, "keys")]


def _copied(arguments: _Arguments) -> Names:
    return [("blob", (_given(arguments, 0, "source"),)), ("blob", (_given(arguments, 1, "target"),))]


def _emitted(arguments: _Arguments) -> Names:
    return [(each.type, (each.subject,) if each.subject else ()) for each in _given(arguments, 0, "events")]


def _events(arguments: _Arguments) -> Names:
    found = (each.event for each in _found(arguments, "events"))
    return [(each.type, (each.subject,) if each.subject else ()) for each in found]


def _found(arguments: _Arguments, name: str) -> Sequence[Any]:
    return getattr(arguments[2], name) if arguments[2] is not None else ()


_FINDERS: Mapping[str, Callable[[_Arguments], Names]] = {
    "entities.get": _read,
    "entities.write": _written,
    "entities.query": _page,
    "entities.scan": _scan,
    "entities.changes": _changes,
    "vectors.upsert": _items,
    "vectors.update": _id,
    "vectors.delete": _ids,
    "vectors.fetch": _ids,
    "vectors.query": _matches,
    "vectors.search_text": _matches,
    "vectors.list_ids": lambda arguments: [(_namespace(arguments), ()) for _ in _found(arguments, "ids")],
    "vectors.scan": lambda arguments: [(_namespace(arguments), ()) for _ in _found(arguments, "items")],
    **{f"blobs.{name}": _blob for name in ("get", "head", "revisions", "presign", "lock", "put")},
    "blobs.delete": _blobs,
    "blobs.copy": _copied,
    "blobs.entries": lambda arguments: [("blob", ()) for _ in _found(arguments, "blobs")],
    "events.emit": _emitted,
    "events.read": _events,
}
