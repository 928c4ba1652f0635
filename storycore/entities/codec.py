"""Instances to records and back, as pure functions; what is written can be read, or the write is refused.

The body is the JSON object of all fields that are not promoted; promoted fields stand beside it as values. A promoted
field that is ``None`` or an empty set, which no store keeps, stays in the body.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from storycore.entities.declaration import Entity
from storycore.entities.scrutiny import LAYOUT_FIELD
from storycore.entities.stamps import stamp
from storycore.entities.uniqueness import HELD_FIELD, held_by
from storycore.errors import Corrupt, InvalidArgument, InvalidKey, SchemaMismatch
from storycore.ports.conditions import ANY, Condition
from storycore.ports.entities import FieldValue, Key, Put, Record

__all__ = ["from_record", "key_of", "plain", "problems", "to_put"]

M = TypeVar("M", bound=BaseModel)

_OWN_FIELDS = frozenset({LAYOUT_FIELD, HELD_FIELD})
"""Fields of a record that are no fields of the model."""


def key_of(entity: Entity[M], instance: M) -> Key:
    """The primary key of an instance.

    Raises:
        InvalidKey: a part is empty or cannot stand in a key.
        InvalidArgument: it is no instance of the model, or a part is of another type than the model says.
    """
    if not isinstance(instance, entity.model):
        raise _foreign(entity, instance)
    return entity.table.address({name: getattr(instance, name) for name in entity.table.fields})


def to_put(entity: Entity[M], instance: M, *, when: Condition = ANY) -> Put:
    """The write that stores an instance whole.

    Raises:
        InvalidArgument: the instance is not of the declared model, is not valid by it (as after an unchecked
            assignment), or holds NaN, an infinity or text that is not valid Unicode.
        InvalidKey: a key part is empty or cannot stand in a key.
    """
    if type(instance) is not entity.model:
        raise _foreign(entity, instance)
    twin = _loadable(entity, _json(entity, _dumped(entity, instance)))
    fields, body = _parted(entity, twin)
    held = frozenset(value for constraint in entity.constraints if (value := constraint.value(twin)) is not None)
    if held:
        fields[HELD_FIELD] = held
    return Put(
        key=key_of(entity, twin),
        kind=entity.kind,
        expires_at=_expiry(entity, twin),
        index_keys={p.slot: place for p in entity.indexes.values() if p.slot and (place := p.place(twin))},
        fields=fields,
        body=body,
        when=when,
    )


def from_record(entity: Entity[M], record: Record) -> M:
    """The instance that a record holds, upgraded to the present schema and stamped with the record's version.

    Raises:
        SchemaMismatch: the record is of another kind, or was written by a newer schema.
        Corrupt: the record is not what the declaration writes.
    """
    if record.kind != entity.kind:
        raise SchemaMismatch(
            f"Under the key of a {entity.kind} lies a {record.kind!r}; let the two declarations' keys differ."
        )
    is_present = entity.has_present_form(record.fields.get(LAYOUT_FIELD))
    is_own = record.fields.keys() - _OWN_FIELDS <= entity.columns
    text = _spliced(entity, record) if is_present and is_own else _upgraded(entity, record)
    instance = _validated(entity, record.key, text)
    stamp(instance, record.key, record.version, held_by(record))
    return instance


def problems(exc: ValidationError) -> str:
    """What is wrong with which field, without the offending values."""
    found = exc.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(str(step) for step in error['loc']) or 'the whole'}: {error['msg']}" for error in found[:5]]
    return "; ".join(told) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


def _parted(entity: Entity[M], twin: M) -> tuple[dict[str, FieldValue], bytes]:
    """Promoted values, and the body of all others."""
    data = _dumped(entity, twin)
    fields: dict[str, FieldValue] = {LAYOUT_FIELD: entity.layout}
    for name in entity.counters:
        fields[name] = getattr(twin, name)
        del data[name]
    for name in entity.promoted:
        value = data[name]
        if isinstance(value, list):
            value = frozenset(value)
        if value is not None and value != frozenset():
            fields[name] = value
            del data[name]
    return fields, _json(entity, data)


def _dumped(entity: Entity[M], instance: M) -> dict[str, Any]:  # JSON values
    try:
        data = instance.model_dump(mode="json", round_trip=True, by_alias=False, warnings="none")
    except ValueError as exc:
        raise InvalidArgument(
            f"A {entity.kind} cannot be written as JSON: a field holds a value of another type than declared, or bytes "
            'that are not UTF-8 (set ser_json_bytes and val_json_bytes to "base64" in the model\'s config).'
        ) from exc
    if not _is_finite(data):
        raise InvalidArgument(f"A {entity.kind} holds NaN or an infinity, which no store keeps; use None or a bound.")
    return data


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_is_finite(inner) for inner in value.values())
    return all(_is_finite(inner) for inner in value) if isinstance(value, list) else True


def _json(entity: Entity[M], data: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:
        return _exact_json(entity, data)


def _exact_json(entity: Entity[M], data: Mapping[str, object]) -> bytes:
    """JSON of what orjson refuses: integers beyond 64 bits; and the error for what is no text."""
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument(
            f"A {entity.kind} holds text with half of a surrogate pair, which is not valid Unicode; remove it."
        ) from exc


def _loadable(entity: Entity[M], text: bytes) -> M:
    """The instance as it will be read; all that is written is taken from it, so that key, fields and body agree."""
    try:
        return entity.model.model_validate_json(text, by_alias=False, by_name=True)
    except ValidationError as exc:
        raise InvalidArgument(f"The {entity.kind} is not valid: {problems(exc)}.") from exc


def _expiry(entity: Entity[M], instance: M) -> datetime | None:
    if entity.ttl is None:
        return None
    moment: datetime | None = getattr(instance, entity.ttl)
    if moment is not None and moment.utcoffset() is None:
        raise InvalidKey(f"{entity.ttl} of a {entity.kind} has no time zone; use an aware datetime.")
    return moment


def _schema_of(entity: Entity[M], record: Record) -> int:
    number = str(record.fields.get(LAYOUT_FIELD, "")).partition(".")[0]
    if not number.isdecimal():
        raise _corrupt(entity, record.key, "it does not tell its schema")
    schema = int(number)
    if schema > entity.schema:
        raise SchemaMismatch(
            f"The {entity.kind} {record.key.pk!r} was written by schema {schema}, this program knows {entity.schema}; "
            "update the program."
        )
    return schema


def _spliced(entity: Entity[M], record: Record) -> bytes:
    """One JSON object of promoted fields and body, without parsing the body; of equal names the last counts.

    A set that has lost its last member stands neither here nor there.
    """
    body = record.body
    if not (body.startswith(b"{") and body.endswith(b"}")):
        raise _corrupt(entity, record.key, "its body is no JSON object")
    emptied = {name: () for name in entity.sets if name not in record.fields}
    values = {name: plain(v) for name, v in record.fields.items() if name not in _OWN_FIELDS}
    parts = (_json(entity, emptied), body, _json(entity, values))
    return b"{" + b",".join(part[1:-1] for part in parts if part != b"{}") + b"}"


def plain(value: FieldValue) -> object:
    """A promoted value as JSON has it; a number keeps every digit."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    return value


def _upgraded(entity: Entity[M], record: Record) -> bytes:
    """The JSON object of a record that another layout wrote, or counted in."""
    schema = _schema_of(entity, record)
    data = _merged(entity, record)
    try:
        for number in range(schema, entity.schema):
            data = entity.upgrades[number](data)
    except Exception as exc:  # whatever an application's upgrade raises
        raise SchemaMismatch(
            f"The {entity.kind} {record.key.pk!r} of schema {schema} could not be upgraded to {entity.schema}: "
            f"{type(exc).__name__}; correct the upgrade function."
        ) from exc
    for name in entity.sets:
        data.setdefault(name, [])
    return _json(entity, data)


def _merged(entity: Entity[M], record: Record) -> dict[str, Any]:  # JSON values
    """Body and fields as one; a counter or set that its layout keeps in the body goes on from there.

    That the present declaration counts in it does not matter: a program with another one may have done so.
    """
    try:
        data: dict[str, Any] = json.loads(record.body)  # JSON values
    except ValueError as exc:
        raise _corrupt(entity, record.key, "its body is no JSON") from exc
    for name, value in record.fields.items():
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and data.get(name) is not None:
            value = _counted(entity, record.key, name, data[name]) + value
        if isinstance(value, frozenset) and isinstance(data.get(name), list):
            value |= frozenset(data[name])
        if name not in _OWN_FIELDS:
            data[name] = plain(value)
    return data


def _counted(entity: Entity[M], key: Key, name: str, held: object) -> Decimal:
    """The number from which a counter goes on that its layout keeps in the body."""
    try:
        return Decimal(str(held))
    except ArithmeticError as exc:
        raise _corrupt(entity, key, f"{name!r} is counted and holds no number") from exc


def _validated(entity: Entity[M], key: Key, text: bytes) -> M:
    try:
        return entity.model.model_validate_json(text, by_alias=False, by_name=True)
    except ValidationError as exc:
        raise _corrupt(entity, key, problems(exc)) from exc


def _foreign(entity: Entity[M], given: object) -> InvalidArgument:
    name = entity.model.__name__
    return InvalidArgument(f"A {entity.kind} is a {name}, not a {type(given).__name__}; hand in a {name}.")


def _corrupt(entity: Entity[M], key: Key, problem: str) -> Corrupt:
    return Corrupt(
        f"The {entity.kind} under ({key.pk!r}, {key.sk!r}) cannot be read: {problem}. "
        "Restore it from a backup, or declare an upgrade if the model has changed."
    )
