"""Typed codecs: how a value becomes bytes and back, and whether callers may share one copy of it. Never pickle."""

from __future__ import annotations

import enum
import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticInvalidForJsonSchema,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from storycore.errors import ConfigError

__all__ = ["Codec", "JsonCodec", "Unfit"]

T = TypeVar("T")

_IMMUTABLE = (bool, int, float, complex, str, bytes, type(None), Decimal, UUID, datetime, date, time, timedelta)

_LOSSLESS = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class Unfit(Exception):
    """The value would not come back from the cache as it went in, so it is not cached."""


class Codec(Protocol[T]):
    """How the values of a region are kept.

    The memory tier keeps what ``keep`` returns and hands out what ``give`` makes of it, so that no caller can change
    what another one gets.
    """

    @property
    def schema(self) -> bytes:
        """8 bytes that change whenever stored payloads can no longer be read as this type."""
        ...

    @property
    def allows_none(self) -> bool:
        """Whether ``None`` is a value of this type, rather than "there is nothing"."""
        ...

    def encode(self, value: T) -> bytes:
        """The value as bytes; raises ``Unfit`` when decoding would not give an equal value."""
        ...

    def decode(self, payload: bytes) -> T:
        """The value; raises ``ValueError`` for bytes that are none."""
        ...

    def keep(self, payload: bytes, value: T) -> object:
        """What the memory tier holds on to; ``value`` was just decoded from ``payload``."""
        ...

    def give(self, kept: Any) -> T:  # whatever keep returned
        """A value for one caller."""
        ...


class JsonCodec(Generic[T]):
    """Any type that pydantic knows, as JSON.

    Args:
        kind: a model, a dataclass, ``list[Story]``, ``Story | None``, ...
        share: hand the same object to all callers of the memory tier, which is faster; safe when nobody changes it.
            ``None``: share exactly the types that cannot be changed. ``shares`` tells which it is.

    Raises:
        ConfigError: pydantic cannot describe the type.
    """

    def __init__(self, kind: Any, *, share: bool | None = None) -> None:  # any type form, also unions and Annotated
        try:
            self._adapter: TypeAdapter[T] = _adapter_of(kind)
        except (PydanticUserError, TypeError) as exc:
            raise ConfigError(
                f"Values of the type {kind!r} cannot be cached, because pydantic does not know how to read them; "
                "use a model, a dataclass or a standard type."
            ) from exc
        self.schema = _schema_hash(self._adapter, kind)
        self.allows_none = self._accepts_none()
        self.shares = is_immutable(kind) if share is None else share

    def encode(self, value: T) -> bytes:
        """The value as JSON bytes."""
        try:
            payload = self._adapter.dump_json(value, by_alias=False, round_trip=True, warnings="none")
            same = self._adapter.validate_json(payload, by_alias=False, by_name=True) == value
        except (ValueError, TypeError, RecursionError, AttributeError) as exc:
            raise Unfit(f"{type(value).__name__}: {exc}") from exc
        if not same:
            raise Unfit(f"{type(value).__name__} comes back from JSON as another value")
        return payload

    def decode(self, payload: bytes) -> T:
        """The value of JSON bytes."""
        return self._adapter.validate_json(payload, by_alias=False, by_name=True)

    def keep(self, payload: bytes, value: T) -> object:
        """The value where it may be shared, else its bytes."""
        return value if self.shares else payload

    def give(self, kept: Any) -> T:
        """The shared value, or a fresh one."""
        return kept if self.shares else self.decode(kept)

    def _accepts_none(self) -> bool:
        try:
            return self._adapter.validate_json(b"null", by_alias=False, by_name=True) is None
        except ValidationError:
            return False


def is_immutable(kind: Any) -> bool:
    """Whether nobody can change a value of this type."""
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType, tuple, frozenset):
        return all(argument is ... or is_immutable(argument) for argument in arguments)
    if origin is typing.Annotated:
        return is_immutable(arguments[0])
    if origin is typing.Literal:
        return True
    if not isinstance(kind, type):
        return kind is None
    if issubclass(kind, BaseModel):
        return bool(kind.model_config.get("frozen")) and all(
            is_immutable(field.annotation) for field in kind.model_fields.values()
        )
    return kind in _IMMUTABLE or issubclass(kind, enum.Enum)


def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind, config=_LOSSLESS)
    except PydanticUserError as exc:
        if exc.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(kind)  # models and the like have a config of their own


def _schema_hash(adapter: TypeAdapter[Any], kind: Any) -> bytes:
    """Of the JSON schema and the type's name; a type without a JSON schema is known by its core schema's text."""
    try:
        shape = orjson.dumps(adapter.json_schema(by_alias=False), option=orjson.OPT_SORT_KEYS)
    except (PydanticInvalidForJsonSchema, PydanticUserError, TypeError):
        shape = repr(kind).encode()
    name = getattr(kind, "__qualname__", repr(kind))
    return blake2b(shape + b"\0" + name.encode(), digest_size=8).digest()
