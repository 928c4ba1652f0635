"""What a declaration must satisfy, so that a mistake shows when the module is imported and not in production."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

from storycore.entities.annotations import admits_none, plain_types
from storycore.entities.cache_tags import CacheTag
from storycore.entities.key_types import KeyType, key_type_of
from storycore.entities.patterns import Pattern
from storycore.entities.soft_deletion import SoftDelete
from storycore.entities.templates import Index, Key, Part, Sharded, Template
from storycore.entities.uniqueness import Unique
from storycore.errors import ConfigError
from storycore.ports.entities import INDEX_SLOTS
from storycore.suggestions import did_you_mean, nearest

__all__ = ["LAYOUT_FIELD", "MOST_SHARDS", "Scrutiny"]

LAYOUT_FIELD = "schema"
"""The field of every record that tells which layout wrote it."""

MOST_SHARDS = 1000
"""Into how many partitions an index may be spread; a page asks each of them."""

_KIND = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ARGUMENTS = frozenset(
    {
        "add", "consistent", "cursor", "exclude", "high", "include", "limit", "low", "max_read", "prefix", "project",
        "reverse", "self", "set", "unset", "when", "where",
    }
)  # fmt: skip
_METHODS = frozenset(
    {
        "address", "count", "create", "delete", "delete_batch", "deleted", "entity", "explain", "find", "get",
        "get_many", "index", "modify", "patch", "purge", "put", "query", "restore", "save", "save_batch", "scan",
        "store", "table", "upsert",
    }
)  # fmt: skip
_CONSTRAINT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_LEAST_SPILL, _MOST_SPILL = 1024, 350 * 1024
_SCALARS = (str, int, float, Decimal, date, datetime, time, UUID, Enum)


class Scrutiny:
    """The checks of one declaration, and the patterns that come out of them.

    Args:
        model: the pydantic model.
        kind: the declared kind, for messages.
    """

    def __init__(self, model: type[BaseModel], kind: str) -> None:
        self._model = model
        self._kind = kind

    def check_kind(self) -> None:
        """The kind is a plain name."""
        if not isinstance(self._kind, str) or not _KIND.fullmatch(self._kind):
            raise ConfigError(
                f"The kind {self._kind!r} must be 1 to 63 lower-case letters, digits, '_' or '-', a letter first.",
                path="kind",
            )

    def check_model(self) -> None:
        """The model is a pydantic model whose dump holds everything that loading needs."""
        if not (isinstance(self._model, type) and issubclass(self._model, BaseModel)):
            raise ConfigError(f"Entity {self._kind!r}: the model must be a pydantic BaseModel.", path=self._kind)
        for name, info in self._model.model_fields.items():
            if info.exclude and info.is_required():
                raise self._error(
                    f"the required field {name!r} is excluded from dumps, so it could not be loaded", name
                )
            if plain_types(info.annotation) & {SecretStr, SecretBytes}:
                raise self._error(
                    f"the field {name!r} is a secret, whose dump is only stars; store a hash instead", name
                )

    def primary(self, key: Key) -> Pattern:
        """The pattern of the primary key."""
        pattern = self._pattern("", None, key.pk, key.sk)
        if any(isinstance(given, Sharded) for given in key.pk):
            raise self._error("the primary key cannot be sharded, for one key is one place; shard an index", "key")
        for name in pattern.fields:
            if admits_none(self._model.model_fields[name].annotation):
                raise self._error(f"the key part {name!r} may be None; a primary key needs a value", name)
        if not pattern.fields:
            raise self._error("the primary key has no part, so there could be one instance only", "key")
        return pattern

    def secondary(self, indexes: Sequence[Index]) -> dict[str, Pattern]:
        """The patterns of the indexes by name."""
        found: dict[str, Pattern] = {}
        slots: set[int] = set()
        for index in indexes:
            self._check_index(index, found, slots)
            slots.add(index.slot)
            made = self._pattern(index.name, index.slot, index.pk, index.sk)
            found[index.name] = Pattern(made.name, made.slot, made.pk, made.sk, made.types, index.when)
        return found

    def check_promoted(self, promoted: Sequence[str]) -> None:
        """Promoted fields exist and are scalars or sets of text."""
        for name in promoted:
            self._require_field(name, "promoted")
            self._refuse_reserved(name)
            options = plain_types(self._model.model_fields[name].annotation)
            if not all(_is_scalar(option) for option in options) and not all(_is_text_set(o) for o in options):
                raise self._error(f"the promoted field {name!r} must be a scalar or a set of text", name)

    def check_counters(self, counters: Sequence[str]) -> None:
        """Counters are numbers without a gap."""
        for name in counters:
            self._require_field(name, "a counter")
            self._refuse_reserved(name)
            annotation = self._model.model_fields[name].annotation
            options = plain_types(annotation)
            if admits_none(annotation) or len(options) != 1 or not all(map(_is_number, options)):
                raise self._error(f"the counter {name!r} must be an int or a Decimal, not optional", name)

    def check_ttl(self, ttl: str | None) -> None:
        """The expiry is a datetime or ``None``."""
        if ttl is not None:
            self._require_datetime(ttl, "the ttl")

    def check_timestamps(self, timestamps: tuple[str, str] | None) -> None:
        """Both timestamps are datetimes, and can be changed."""
        for name in timestamps or ():
            self._require_datetime(name, "a timestamp")
        if timestamps and self._model.model_config.get("frozen"):
            raise self._error("a frozen model cannot keep timestamps; leave them out or thaw it", "timestamps")

    def check_upgrades(self, schema: int, upgrades: Mapping[int, object]) -> None:
        """There is one upgrade per earlier schema."""
        if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
            raise self._error("the schema is a whole number from 1 on", "schema")
        wanted = set(range(1, schema))
        if wanted != set(upgrades):
            odd = ", ".join(str(number) for number in sorted(wanted ^ set(upgrades)))
            raise self._error(
                f"schema {schema} needs upgrades from exactly 1 to {schema - 1}; look at {odd}", "upgrades"
            )

    def check_spill(self, spill: int | None) -> None:
        """The threshold is worth a blob, and leaves a record that fits room for its fields."""
        if spill is None:
            return
        if isinstance(spill, bool) or not isinstance(spill, int) or not _LEAST_SPILL <= spill <= _MOST_SPILL:
            raise self._error(f"spill is a number of bytes from {_LEAST_SPILL} to {_MOST_SPILL}", "spill")

    def check_unique(self, unique: Sequence[Unique]) -> None:
        """Unique values are made of fields that can stand in a key."""
        names: set[str] = set()
        for constraint in unique:
            if not isinstance(constraint, Unique) or not constraint.fields:
                raise self._error("unique is a list of Unique, each with at least one field", "unique")
            if not isinstance(constraint.name, str) or not _CONSTRAINT.fullmatch(constraint.name):
                raise self._error(
                    f"the constraint name {constraint.name!r:.300} is not 1 to 63 letters, digits or '_', a letter "
                    "first; give Unique a name",
                    "unique",
                )
            if constraint.name in names:
                raise self._error(f"the constraint name {constraint.name!r} occurs twice; give one a name", "unique")
            names.add(constraint.name)
            self._check_constraint(constraint)

    def check_soft_delete(self, deletion: SoftDelete | None, taken: Collection[str | None]) -> None:
        """The time of deletion is a datetime or ``None``, and nothing else is made of it."""
        if deletion is None:
            return
        if not isinstance(deletion, SoftDelete):
            raise self._error("soft_delete is the name of a field or a SoftDelete", "soft_delete")
        self._require_datetime(deletion.field, "the time of deletion")
        info = self._model.model_fields[deletion.field]
        if not admits_none(info.annotation) or info.is_required() or info.get_default() is not None:
            raise self._error(f"{deletion.field!r} must be None by default, for what is not deleted", deletion.field)
        if deletion.field in taken:
            raise self._error(f"{deletion.field!r} has another task already; use a field of its own", deletion.field)
        if deletion.keep is not None and not deletion.keep > timedelta(0):
            raise self._error("deleted instances are kept for longer than no time, or for ever", "soft_delete")

    def cache_tags(self, texts: Sequence[str], *, promoted: Collection[str]) -> tuple[CacheTag, ...]:
        """The tags, whose values every record tells without its body."""
        if isinstance(texts, str) or not all(isinstance(text, str) and text for text in texts):
            raise self._error(
                "cache_tags is a sequence of texts that are not empty, such as ('user:{user_id}',)", "tags"
            )
        tags = tuple(CacheTag(text) for text in texts)
        for tag in tags:
            self._check_cache_tag(tag, promoted)
        return tags

    def _check_cache_tag(self, tag: CacheTag, promoted: Collection[str]) -> None:
        if any(char in literal for literal in tag.literals for char in "{}%"):
            raise self._error(f"the cache tag {tag.text!r} has a lone brace or a '%'", "tags")
        if any(literal.isalnum() or not literal for literal in tag.literals[1:-1]):
            raise self._error(
                f"the cache tag {tag.text!r} does not keep two fields apart; put ':' between them", "tags"
            )
        for name in tag.fields:
            self._require_field(name, f"a part of the cache tag {tag.text!r}")
            if name not in promoted:
                raise self._error(f"the field {name!r} of the cache tag {tag.text!r} must be promoted", name)
            kind = key_type_of(self._model.model_fields[name].annotation)
            if kind is None or kind.plain not in (str, int, UUID):
                raise self._error(
                    f"the field {name!r} of the cache tag {tag.text!r} must be text, a whole number, a UUID or an "
                    "enumeration of these",
                    name,
                )

    def _check_constraint(self, constraint: Unique) -> None:
        if constraint.fold not in (None, "casefold"):
            raise self._error(f"fold is None or 'casefold', not {constraint.fold!r}", "unique")
        named = (*constraint.within, *constraint.fields)
        if len(set(named)) < len(named):
            raise self._error(f"the unique values {constraint.name!r} name a field twice", "unique")
        for name in named:
            self._require_field(name, "unique")
        types = {name: self._key_type(name) for name in named}
        if constraint.fold and not any(types[name].plain is str for name in constraint.fields):
            raise self._error(f"the unique values {constraint.name!r} hold no text to fold", "unique")

    def _check_index(self, index: Index, found: Mapping[str, Pattern], slots: set[int]) -> None:
        if not index.name.isidentifier() or index.name.startswith("_") or index.name in _METHODS:
            raise self._error(f"the index name {index.name!r} is reserved or no identifier; choose another", index.name)
        if index.name in found:
            raise self._error(f"the index name {index.name!r} occurs twice", index.name)
        if not 1 <= index.slot <= INDEX_SLOTS:
            raise self._error(f"the index {index.name!r} needs a slot from 1 to {INDEX_SLOTS}", index.name)
        if index.slot in slots:
            raise self._error(
                f"the index {index.name!r} shares slot {index.slot} with another; choose another", index.name
            )

    def _pattern(self, name: str, slot: int | None, pk: Template, sk: Template) -> Pattern:
        title = name or "key"
        for template in (pk, sk):
            if not isinstance(template, tuple) or not template:
                raise self._error(f"{title}: pk and sk are non-empty tuples of text and part.field", title)
        self._check_shards(pk, sk, title)
        fields = [
            self._part_field(given.by if isinstance(given, Sharded) else given, title)
            for given in (*pk, *sk)
            if not isinstance(given, str)
        ]
        return Pattern(name, slot, pk, sk, {field: self._key_type(field) for field in fields})

    def _check_shards(self, pk: Template, sk: Template, title: str) -> None:
        if any(isinstance(given, Sharded) for given in sk):
            raise self._error(f"{title}: Sharded belongs in pk, for it makes partitions", title)
        found = [given for given in pk if isinstance(given, Sharded)]
        if len(found) > 1:
            raise self._error(f"{title}: pk has {len(found)} Sharded; one is enough", title)
        for sharded in found:
            count = sharded.shards
            if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST_SHARDS:
                raise self._error(f"{title}: the number of shards is 2 to {MOST_SHARDS}, not {count!r}", title)
            if sharded.by in pk:
                raise self._error(
                    f"{title}: {sharded.by.field!r} is the same in all of a partition, so it cannot spread it; shard "
                    "by another field",
                    title,
                )

    def _part_field(self, given: object, title: str) -> str:
        if not isinstance(given, Part):
            raise self._error(f"{title}: {given!r} is neither text nor part.field", title)
        self._require_field(given.field, f"a part of {title}")
        if given.field in _ARGUMENTS:
            raise self._error(
                f"the field {given.field!r} has the name of an argument and cannot be a key part", given.field
            )
        return given.field

    def _key_type(self, field: str) -> KeyType:
        annotation = self._model.model_fields[field].annotation
        found = key_type_of(annotation)
        if found is None:
            raise self._error(
                f"the field {field!r} cannot be a key part: it must be text, an integer, a bool, a date, a datetime, a "
                "UUID or an enumeration of one of these, and not a mixture. Numbers with a fraction have no order as "
                "text; use a whole number of a smaller unit",
                field,
            )
        return found

    def _refuse_reserved(self, name: str) -> None:
        if name == LAYOUT_FIELD:
            raise self._error(f"the name {name!r} is reserved and cannot be promoted", name)

    def _require_datetime(self, name: str, role: str) -> None:
        self._require_field(name, role)
        if key_type_of(self._model.model_fields[name].annotation) != KeyType(datetime):
            raise self._error(f"{role} {name!r} must be a datetime", name)

    def _require_field(self, name: str, role: str) -> None:
        fields = self._model.model_fields
        if name not in fields:
            raise ConfigError(
                f"Entity {self._kind!r}: {self._model.__name__} has no field {name!r}, which is declared as {role}."
                f" {did_you_mean(name, fields)}",
                path=f"{self._kind}.{name}",
                suggestion=nearest(name, fields),
            )

    def _error(self, problem: str, name: str) -> ConfigError:
        return ConfigError(f"Entity {self._kind!r}: {problem}.", path=f"{self._kind}.{name}")


def _is_scalar(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, _SCALARS)


def _is_number(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, (int, Decimal)) and not issubclass(option, (bool, Enum))


def _is_text_set(option: object) -> bool:
    return get_origin(option) in (set, frozenset) and plain_types(get_args(option)[0]) == {str}
