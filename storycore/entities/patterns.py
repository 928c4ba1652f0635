"""Access patterns: the compiled form of a key template, which places instances and turns arguments into key ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel

from storycore.entities.key_types import KeyType
from storycore.entities.keys import BELOW_ALL, KeyPart, Range, encode, encode_part, escape, starting_with, under
from storycore.entities.templates import Part, Sharded, Template
from storycore.errors import InvalidArgument, InvalidKey
from storycore.ports.entities import Key
from storycore.suggestions import did_you_mean

__all__ = ["Bounds", "Pattern", "shard_of"]


def shard_of(value: KeyPart, shards: int) -> int:
    """In which of ``shards`` a value belongs, from 0 on: the same in every process and on every machine."""
    return int.from_bytes(blake2b(encode_part(value).encode(), digest_size=8).digest()) % shards


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on the first sort-key part that is not given.

    Args:
        low: from this value on, inclusive.
        high: below this value, exclusive.
        prefix: text that the part begins with; instead of the other two.
    """

    low: object = None
    high: object = None
    prefix: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is limited."""
        return self.low is None and self.high is None and not self.prefix


@dataclass(frozen=True)
class Pattern:
    """One way to reach an entity: by its primary key, or by an index.

    Args:
        name: of the index, ``""`` for the table itself.
        slot: of the index, ``None`` for the table itself.
        pk: the partition's template.
        sk: the sort key's template.
        types: the key type of each field in the templates.
        when: which instances are listed at all.
    """

    name: str
    slot: int | None
    pk: Template
    sk: Template
    types: Mapping[str, KeyType]
    when: Callable[[Any], bool] | None = None  # takes the declared model

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields on which an instance's place depends, each once, in the order of the templates."""
        parts = (part.by if isinstance(part, Sharded) else part for part in (*self.pk, *self.sk))
        return tuple(dict.fromkeys(part.field for part in parts if isinstance(part, Part)))

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The parts by which instances are asked for: all fields, but for the one that only tells the shard."""
        return tuple(dict.fromkeys(part.field for part in (*self.pk, *self.sk) if isinstance(part, Part)))

    @cached_property
    def shards(self) -> int:
        """Over how many partitions of the store each partition is spread; 1: not at all."""
        return next((part.shards for part in self.pk if isinstance(part, Sharded)), 1)

    @cached_property
    def described(self) -> str:
        """Text that differs where the places of instances may differ, and is the same in every process."""
        types = {field: kind.plain.__name__ for field, kind in sorted(self.types.items())}
        return repr((self.pk, self.sk, types))

    @cached_property
    def order(self) -> str:
        """Text that differs where a partition may be in another order."""
        types = [self.types[part.field].plain.__name__ for part in self.sk if isinstance(part, Part)]
        return repr((self.sk, types))

    def place(self, instance: BaseModel) -> Key | None:
        """Where ``instance`` is listed, or ``None`` when it is not: a part is ``None``, or ``when`` is false.

        Raises:
            InvalidArgument, InvalidKey: a field holds what cannot stand in a key.
        """
        if self.when is not None and not self.when(instance):
            return None
        values = {field: getattr(instance, field) for field in self.fields}
        if None in values.values():
            return None
        pk, sk = encode(self._parts(self.pk, values)), encode(self._parts(self.sk, values))
        return Key(pk, sk) if pk and sk else None

    def address(self, values: Mapping[str, object]) -> Key:
        """The key that the values of all parts name.

        Raises:
            InvalidArgument: a part is missing, unknown or of the wrong type.
            InvalidKey: a part is empty or cannot stand in a key.
        """
        self._refuse_unknown(values)
        self._require(self.fields, values)
        for field in self.fields:
            if values[field] == "":
                raise InvalidKey(f"The key part {field!r} is empty; give it a value.")
        return Key(encode(self._parts(self.pk, values)), encode(self._parts(self.sk, values)))

    def partition(self, values: Mapping[str, object]) -> str:
        """The partition that the values name, as if it were not sharded.

        Raises:
            InvalidArgument: a part of the partition is missing, or a value is unknown or of the wrong type.
        """
        self._refuse_unknown(values)
        self._require([part.field for part in self.pk if isinstance(part, Part)], values)
        return encode(self._parts([part for part in self.pk if not isinstance(part, Sharded)], values))

    def shards_of(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """All partitions of the store that make up the partition that the values name; one when it is not sharded."""
        return tuple(encode(self._parts(self.pk, values, shard)) for shard in range(self.shards))

    def span(self, values: Mapping[str, object], bounds: Bounds) -> Range:
        """The sort keys that the given leading parts and the bounds on the next one allow.

        Raises:
            InvalidArgument: a part is given but not one before it, there is no part left to bound, the bounds
                contradict each other, or a value is of the wrong type.
        """
        given = self._leading(values)
        leading = self._parts(self.sk[:given], values)
        if given == len(self.sk):
            return self._exactly(leading, bounds)
        if bounds.is_open:
            return under(leading)
        following = self.sk[given]
        assert isinstance(following, Part)
        if bounds.prefix:
            return self._beginning(following.field, leading, bounds)
        return self._between(following.field, leading, bounds)

    def _exactly(self, whole: list[KeyPart], bounds: Bounds) -> Range:
        if not bounds.is_open:
            raise InvalidArgument(f"All sort-key parts of {self._title} are given; leave out low, high and prefix.")
        text = encode(whole)
        return text or None, under(whole)[0]

    def _beginning(self, field: str, leading: list[KeyPart], bounds: Bounds) -> Range:
        if bounds.low is not None or bounds.high is not None:
            raise InvalidArgument("Give either prefix, or low and high.")
        if not isinstance(bounds.prefix, str) or not self.types[field].has_text_order:
            raise InvalidArgument(f"The part {field!r} of {self._title} is not text; use low and high.")
        before = under(leading)[0] or ""
        return starting_with(before + escape(bounds.prefix))

    def _between(self, field: str, leading: list[KeyPart], bounds: Bounds) -> Range:
        low, high = under(leading)
        kind = self.types[field]
        if bounds.low is not None:
            low = encode([*leading, kind.part(field, bounds.low)])
        if bounds.high is not None:
            high = encode([*leading, kind.part(field, bounds.high)]) or BELOW_ALL
        if low is not None and high is not None and low > high:
            raise InvalidArgument(f"low lies above high for {field!r}; exchange them, and use reverse for the order.")
        return low or None, high

    def _leading(self, values: Mapping[str, object]) -> int:
        given = 0
        for part in self.sk:
            if isinstance(part, Part) and part.field not in values:
                break
            given += 1
        for part in self.sk[given:]:
            if isinstance(part, Part) and part.field in values:
                stop = self.sk[given]
                assert isinstance(stop, Part)
                raise InvalidArgument(f"{self._title} orders by {stop.field!r} before {part.field!r}; give both.")
        return given

    def _parts(
        self, template: Sequence[str | Part | Sharded], values: Mapping[str, object], shard: int | None = None
    ) -> list[KeyPart]:
        found: list[KeyPart] = []
        for part in template:
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, Part):
                found.append(self._value(part, values))
            else:
                found.append(str(shard_of(self._value(part.by, values), part.shards) if shard is None else shard))
        return found

    def _value(self, part: Part, values: Mapping[str, object]) -> KeyPart:
        return self.types[part.field].part(part.field, values[part.field])

    def _refuse_unknown(self, values: Mapping[str, object]) -> None:
        known = self.arguments
        for name in values:
            if name not in known:
                raise InvalidArgument(f"{self._title} has no part {name!r}. {did_you_mean(name, known)}")

    def _require(self, fields: tuple[str, ...] | list[str], values: Mapping[str, object]) -> None:
        missing = [field for field in fields if field not in values]
        if missing:
            raise InvalidArgument(f"{self._title} needs {', '.join(missing)}; give each by name.")

    @property
    def _title(self) -> str:
        return f"The index {self.name!r}" if self.name else "The primary key"
