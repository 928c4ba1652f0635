"""Tags that a written instance outdates in the cache: ``"user:{user_id}"``, made of its stored fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

__all__ = ["CacheTag"]

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class CacheTag:
    """The template of a tag.

    Args:
        text: with placeholders that name fields; without any it is the tag of all instances.
    """

    text: str

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that the placeholders name, in their order."""
        return tuple(_PLACEHOLDER.findall(self.text))

    @cached_property
    def literals(self) -> tuple[str, ...]:
        """The texts before, between and behind the placeholders."""
        return tuple(_PLACEHOLDER.split(self.text)[0::2])

    def of(self, values: Mapping[str, object]) -> str | None:
        """The tag that these values make; ``None`` where one of them is missing or ``None``."""
        made = self.literals[0]
        for field, literal in zip(self.fields, self.literals[1:], strict=True):
            value = values.get(field)
            if value is None:
                return None
            made += f"{value.value if isinstance(value, Enum) else value}{literal}"
        return made
